// A smart bulb: its colour and brightness say how many people are in the room. Words say it too.

const SVG = "http://www.w3.org/2000/svg";
const make = (tag, attributes, parent) => {
  const element = document.createElementNS(SVG, tag);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  parent.append(element);
  return element;
};

function render({ model, el }) {
  el.classList.add("aiotwin-bulb");
  const svg = make("svg", { viewBox: "0 0 120 160", width: "120", height: "160", role: "img" }, el);
  const glow = make("circle", { cx: 60, cy: 62, r: 56 }, svg);
  const glass = make("path", { d: "M60 18 a44 44 0 0 0 -26 79 q8 7 8 17 h36 q0 -10 8 -17 a44 44 0 0 0 -26 -79 z", stroke: "#6B6B6B", "stroke-width": 2 }, svg);
  for (const y of [120, 130, 140]) make("rect", { x: 44, y, width: 32, height: 7, rx: 3, fill: "#8a8a8a" }, svg);
  const words = document.createElement("div");
  words.setAttribute("role", "status");
  el.append(words);
  const show = () => {
    const { colour, brightness, words: said } = { colour: model.get("colour"), brightness: model.get("brightness"), words: model.get("words") };
    glow.setAttribute("fill", colour);
    glow.setAttribute("opacity", (0.45 * brightness).toFixed(3));
    glass.setAttribute("fill", brightness > 0 ? colour : "#4a4a4a");
    glass.setAttribute("fill-opacity", (0.25 + 0.75 * brightness).toFixed(3));
    svg.setAttribute("aria-label", said);
    words.textContent = said;
  };
  for (const name of ["colour", "brightness", "words"]) model.on(`change:${name}`, show);
  show();
  return () => { for (const name of ["colour", "brightness", "words"]) model.off(`change:${name}`, show); };
}

export default { render };
