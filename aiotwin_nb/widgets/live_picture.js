// A PNG, its text alternative, and two lines of words. The elements stay; only what is in them changes, so that nothing
// flickers and screen readers announce the lines.

function pageIsDark() {
  const light = document.body.dataset.jpThemeLight;
  if (light !== undefined) return light === "false";
  const channels = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [255, 255, 255];
  if (channels[3] === 0) return false; // a page without a colour is white
  return channels[0] * 0.299 + channels[1] * 0.587 + channels[2] * 0.114 < 128;
}

function render({ model, el }) {
  el.classList.add("aiotwin-live");
  const image = Object.assign(document.createElement("img"), { decoding: "sync", hidden: true });
  const warning = document.createElement("p");
  warning.setAttribute("role", "alert");
  warning.className = "aiotwin-live-warning";
  const words = document.createElement("p");
  words.setAttribute("role", "status");
  el.append(warning, image, words);

  let url = "";
  const showImage = () => {
    const png = model.get("png");
    image.hidden = !png?.byteLength;
    if (image.hidden) return;
    const old = url;
    url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    image.onload = () => old && URL.revokeObjectURL(old);
    image.src = url;
    image.style.width = `${model.get("width")}px`;
  };
  const showText = () => {
    image.alt = model.get("alt");
    if (words.textContent !== model.get("words")) words.textContent = model.get("words");
    const text = model.get("warning") && `⚠ ${model.get("warning")}`;
    if (warning.textContent !== text) warning.textContent = text;
    warning.hidden = !text;
  };
  const reportTheme = () => {
    const dark = pageIsDark();
    if (dark === model.get("dark")) return;
    model.set("dark", dark);
    model.save_changes();
  };

  model.on("change:png change:width", showImage);
  model.on("change:alt change:words change:warning", showText);
  const themes = new MutationObserver(reportTheme);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  showImage();
  showText();
  reportTheme();
  return () => {
    themes.disconnect();
    model.off("change:png change:width", showImage);
    model.off("change:alt change:words change:warning", showText);
    if (url) URL.revokeObjectURL(url);
  };
}

export default { render };
