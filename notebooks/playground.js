// The playground's page. What it asks for is the model's `asked`: { number: of an image, photo: base 64, or "",
// hole: 32 * 32 characters, 1 where it is, sample: its number }. What comes back is `shown`: { count: of the images,
// samples: whether there are any, photo: address of a picture, fills: { name: address of a picture, or words } }.

const SIZE = 32, SCALE = 12;

function add(parent, tag, properties, style = "") {
  const element = Object.assign(document.createElement(tag), properties);
  element.style.cssText = style;
  return parent.appendChild(element);
}

// An image file as a PNG in base 64 with a shorter side of at most 256 pixels: many a photo is too large to be sent.
async function shrink(file) {
  const photo = await createImageBitmap(file);
  const scale = Math.min(1, 256 / Math.min(photo.width, photo.height));
  const [width, height] = [Math.round(scale * photo.width), Math.round(scale * photo.height)];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  Object.assign(canvas.getContext("2d"), { imageSmoothingQuality: "high" }).drawImage(photo, 0, 0, width, height);
  return canvas.toDataURL().split(",")[1];
}

export default { render({ model, el }) {
  const { count, samples } = model.get("shown");
  const ask = (change) => { model.set("asked", { ...model.get("asked"), ...change }); model.save_changes(); };
  const row = "display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: center; margin: 8px 0";
  el.dataset.lmSuppressShortcuts = true; // keys that are typed here are not JupyterLab's
  el.style.color = "var(--jp-content-font-color1, inherit)"; // JupyterLab's dark themes leave a page's text black

  const sources = add(el, "div", {}, row);
  const numbered = { type: "number", min: 0, max: count - 1, value: model.get("asked").number, required: true };
  const number = add(add(sources, "label", { textContent: `image, 0 to ${count - 1}: ` }), "input", numbered);
  const own = add(sources, "label", { textContent: "or a photo of your own: " });
  const file = add(own, "input", { type: "file", accept: "image/*" });
  const trouble = add(sources, "b", { role: "alert" });
  number.oninput = () => {
    file.value = trouble.textContent = "";
    if (number.checkValidity()) ask({ number: number.valueAsNumber, photo: "" });
  };
  file.onchange = async () => {
    trouble.textContent = "";
    try {
      if (file.files.length) ask({ photo: await shrink(file.files[0]) });
    } catch {
      trouble.textContent = `${file.files[0].name} cannot be read as an image. Choose another one: JPEG, PNG, WebP.`;
    }
  };

  const tools = add(el, "div", {}, row);
  const brush = add(add(tools, "label", { textContent: "brush: " }), "select");
  for (const width of [1, 3, 5, 8]) add(brush, "option", { value: width, textContent: `${width} pixels` });
  add(brush, "option", { value: 12, textContent: "square of 12x12 pixels" });
  brush.value = 3;
  const clear = () => { hole.fill(0); draw(); send(); };
  add(tools, "button", { textContent: "clear", onclick: clear });
  const another = () => ask({ sample: model.get("asked").sample + 1 });
  if (samples) add(tools, "button", { textContent: "another sample", onclick: another });

  const looks = "display: block; width: 384px; max-width: 100%; cursor: crosshair; touch-action: none";
  const properties = { width: SIZE * SCALE, height: SIZE * SCALE, role: "img", ariaLabel: "Paint a hole here." };
  const canvas = add(el, "canvas", properties, looks);
  const pen = canvas.getContext("2d"), picture = new Image(), hole = [...model.get("asked").hole].map(Number);
  const send = () => ask({ hole: hole.join("") });
  const hidden = (x, y) => x >= 0 && y >= 0 && x < SIZE && y < SIZE && hole[y * SIZE + x];
  const draw = () => {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    for (let y = 0; y < SIZE; y++) for (let x = 0; x < SIZE; x++) if (hidden(x, y)) {
      const edge = !(hidden(x - 1, y) && hidden(x + 1, y) && hidden(x, y - 1) && hidden(x, y + 1));
      pen.fillStyle = edge ? "white" : (x + y) % 2 ? "#777" : "#999";
      pen.fillRect(x * SCALE, y * SCALE, SCALE, SCALE);
      if (edge) pen.strokeRect(x * SCALE + 0.5, y * SCALE + 0.5, SCALE - 1, SCALE - 1);
    }
  };
  const stamp = (x, y, width) => { // a square around a point in pixels; of 12x12 there is one alone, all inside
    const place = (at) => width === 12 ? Math.max(0, Math.min(SIZE - 12, Math.round(at - 6))) : Math.round(at - width / 2);
    if (width === 12) hole.fill(0);
    for (let i = place(y); i < place(y) + width; i++)
      for (let j = place(x); j < place(x) + width; j++) if (i >= 0 && j >= 0 && i < SIZE && j < SIZE) hole[i * SIZE + j] = 1;
  };
  let last = null;
  const move = (event) => {
    const [x, y] = [event.offsetX, event.offsetY].map((at) => (at / canvas.clientWidth) * SIZE);
    const steps = last ? Math.ceil(2 * Math.hypot(x - last[0], y - last[1])) + 1 : 1;
    for (let i = 1; i <= steps; i++) {
      const [a, b] = last || [x, y];
      stamp(a + ((x - a) * i) / steps, b + ((y - b) * i) / steps, Number(brush.value));
    }
    last = [x, y];
    draw();
  };
  canvas.onpointerdown = (event) => { if (!event.button) { canvas.setPointerCapture(event.pointerId); move(event); } };
  canvas.onpointermove = (event) => last && move(event);
  canvas.onlostpointercapture = () => { last = null; send(); };
  picture.onload = draw;

  const below = add(el, "div", {}, "display: flex; flex-wrap: wrap; gap: 16px; margin: 12px 0");
  const show = () => {
    const { photo, fills } = model.get("shown");
    picture.src = photo;
    below.replaceChildren();
    for (const [name, answer] of Object.entries(fills)) {
      const card = add(below, "figure", {}, "margin: 0; width: 160px; line-height: 1.3");
      const large = "display: block; width: 160px; image-rendering: pixelated";
      if (answer.startsWith("data:")) add(card, "img", { src: answer, alt: name }, large);
      else add(card, "div", { textContent: answer }, "height: 150px; padding: 4px; border: 1px dashed; overflow: auto");
      add(card, "figcaption", { textContent: name });
    }
  };
  model.on("change:shown", show);
  show();
} };
