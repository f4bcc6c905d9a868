// A labelled form field that can say what is wrong with its value, also to a screen reader.

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
};

function render({ model, el }) {
  const id = `aiotwin-field-${Math.random().toString(36).slice(2)}`; // every widget has a copy of this module: counting would not do
  const label = make("label", { for: id });
  const error = make("div", { class: "error", id: `${id}-error`, "aria-live": "polite" });
  const hint = make("div", { class: "hint", id: `${id}-hint` });
  const isChoice = model.get("kind") === "choice";
  const input = isChoice ? make("select", { id }) : make("input", { id, type: model.get("kind") === "number" ? "number" : "text", autocomplete: "off", spellcheck: "false" });
  input.setAttribute("aria-describedby", `${id}-error ${id}-hint`);
  el.classList.add("aiotwin-field");
  el.append(label, input, error, hint);

  const choices = () => {
    if (!isChoice) return;
    input.replaceChildren(...model.get("choices").map(([value, text]) => make("option", { value }, text)));
    input.value = model.get("value");
  };
  const words = () => {
    label.textContent = model.get("label");
    hint.textContent = model.get("hint");
    error.textContent = model.get("error");
    input.title = model.get("hint");
    input.disabled = model.get("disabled");
    if (!isChoice) input.placeholder = model.get("placeholder");
    input.toggleAttribute("aria-invalid", false);
    if (model.get("error")) input.setAttribute("aria-invalid", "true");
  };
  let timer = 0; // runs while what was typed has not been sent
  const value = () => { if (!timer && input.value !== model.get("value")) input.value = model.get("value"); };
  const send = () => { timer = 0; model.set("value", input.value); model.save_changes(); };
  const stop = (event) => event.stopPropagation(); // the notebook has its own meaning for many keys
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(send, isChoice ? 0 : 150); });
  input.addEventListener("change", () => { clearTimeout(timer); send(); });
  input.addEventListener("keydown", stop);
  model.on("change:choices", choices);
  model.on("change:value", value);
  model.on("change:label change:hint change:error change:disabled change:placeholder", words);
  choices(); words(); value();
  return () => { clearTimeout(timer); model.off("change:choices", choices); model.off("change:value", value); model.off("change:label change:hint change:error change:disabled change:placeholder", words); };
}

export default { render };
