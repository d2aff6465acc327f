// The playground's page. It asks for `asked`: { number: of an image, photo: base 64, or "", hole: 32 * 32 characters, 1
// where it is, sample: its number }, and is shown `shown`: { count: of the images, samples: whether there are any,
// photo: address of a picture, fills: { name: address of a picture, or words } }.
const SIZE = 32;

function add(parent, tag, properties, style = "") {
  const element = Object.assign(document.createElement(tag), properties);
  element.style.cssText = style;
  return parent.appendChild(element);
}

// The middle square of an image file as a PNG of 256x256 pixels in base 64: many a photo is too large to be sent.
async function shrink(file) {
  const photo = await createImageBitmap(file), side = Math.min(photo.width, photo.height);
  const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
  const pen = Object.assign(canvas.getContext("2d"), { imageSmoothingQuality: "high" });
  pen.drawImage(photo, (photo.width - side) / 2, (photo.height - side) / 2, side, side, 0, 0, 256, 256);
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
  const clear = () => { mask.clearRect(0, 0, SIZE, SIZE); draw(); send(); };
  add(tools, "button", { textContent: "clear", onclick: clear });
  const another = () => ask({ sample: model.get("asked").sample + 1 });
  if (samples) add(tools, "button", { textContent: "another sample", onclick: another });
  const mask = Object.assign(document.createElement("canvas"), { width: SIZE, height: SIZE }).getContext("2d");
  mask.fillStyle = "#888";
  [...model.get("asked").hole].forEach((x, i) => x === "1" && mask.fillRect(i % SIZE, Math.floor(i / SIZE), 1, 1));
  const send = () => { // of each pixel's red, green, blue and opacity the last says whether it is in the hole
    const opacity = [...mask.getImageData(0, 0, SIZE, SIZE).data].filter((_, i) => i % 4 === 3);
    ask({ hole: opacity.map((x) => +(x > 0)).join("") });
  };
  const looks = "display: block; width: 384px; max-width: 100%; cursor: crosshair; touch-action: none";
  const properties = { width: 384, height: 384, role: "img", ariaLabel: "Paint a hole here." };
  const canvas = add(el, "canvas", properties, looks), pen = canvas.getContext("2d"), picture = new Image();
  pen.imageSmoothingEnabled = false;
  const draw = () => { // moved a little each way, in black and then in white, the hole gets an outline
    const copy = (from, x, y, shadowColor) =>
      Object.assign(pen, { shadowColor, shadowOffsetX: x, shadowOffsetY: y }).drawImage(from, 0, 0, 384, 384);
    copy(picture, 0, 0, "transparent");
    for (const [colour, far] of [["black", 3], ["white", 1.5]]) {
      for (const x of [-far, 0, far]) for (const y of [-far, 0, far]) copy(mask.canvas, x, y, colour);
    }
  };
  const stamp = (x, y, width) => { // a square around a point; of 12x12 there is one alone, inside the photograph
    const place = (at) => width === 12 ? Math.max(0, Math.min(SIZE - 12, Math.round(at - 6))) : Math.round(at - width / 2);
    if (width === 12) mask.clearRect(0, 0, SIZE, SIZE);
    mask.fillRect(place(x), place(y), width, width);
  };
  let last = null;
  const move = (event) => {
    const [x, y] = [event.offsetX, event.offsetY].map((at) => (at / canvas.clientWidth) * SIZE), [a, b] = last || [x, y];
    const steps = 1 + Math.ceil(2 * Math.hypot(x - a, y - b));
    for (let i = 1; i <= steps; i++) stamp(a + ((x - a) * i) / steps, b + ((y - b) * i) / steps, Number(brush.value));
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
