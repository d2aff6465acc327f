// The page of utils.playground. What the reader asks for is the model's `asked`: { number: of an image, photo: base 64,
// or "", strokes: [[points [x, y] in shares of the side, width in pixels], ...], sample: its number }. What comes back
// is `shown`: { count: of the images, samples: whether there are any, photo: address of a picture, 12 pixels for one of
// the image's, fills: { name: address of a picture, or words } }.

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
  const ask = (change) => {
    model.set("asked", { ...model.get("asked"), ...change });
    model.save_changes();
  };
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
    if (!number.checkValidity()) return;
    file.value = trouble.textContent = "";
    ask({ number: number.valueAsNumber, photo: "" });
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
  add(tools, "button", { textContent: "clear", onclick: () => ask({ strokes: [] }) });
  const another = () => ask({ sample: model.get("asked").sample + 1 });
  if (samples) add(tools, "button", { textContent: "another sample", onclick: another });

  const looks = "display: block; width: 384px; max-width: 100%; cursor: crosshair; touch-action: none";
  const canvas = add(el, "canvas", { width: 384, height: 384, role: "img", ariaLabel: "Paint a hole here." }, looks);
  const pen = Object.assign(canvas.getContext("2d"), { strokeStyle: "#888", lineCap: "square", lineJoin: "round" });
  const picture = new Image();
  let stroke = [];
  pen.scale(384, 384);
  const draw = () => {
    pen.lineWidth = (12 * brush.value) / picture.naturalWidth;
    pen.stroke(new Path2D(`M${stroke[0]}L${stroke.join("L")}`));
  };
  const move = (event) => {
    stroke.push([event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight]);
    draw();
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    move(event);
  };
  canvas.onpointermove = (event) => stroke.length && move(event);
  canvas.onlostpointercapture = () => {
    ask({ strokes: [...model.get("asked").strokes, [stroke, Number(brush.value)]] });
    stroke = [];
  };
  picture.onload = () => {
    pen.drawImage(picture, 0, 0, 1, 1);
    if (stroke.length) draw();
  };

  const below = add(el, "div", {}, "display: flex; flex-wrap: wrap; gap: 16px; margin: 12px 0");
  const show = () => {
    const { photo, fills } = model.get("shown");
    picture.src = photo;
    below.replaceChildren();
    for (const [name, answer] of Object.entries(fills)) {
      const card = add(below, "figure", {}, "margin: 0; width: 160px; line-height: 1.3");
      if (answer.startsWith("data:")) add(card, "img", { src: answer, alt: name }, "display: block; width: 160px");
      else add(card, "div", { textContent: answer }, "height: 150px; padding: 4px; border: 1px dashed; overflow: auto");
      add(card, "figcaption", { textContent: name });
    }
  };
  model.on("change:shown", show);
  show();
} };
