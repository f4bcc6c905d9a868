// In command mode JupyterLab takes single keys, also those that a focused dropdown needs (letters, arrows). A panel's
// dropdowns keep theirs.

function render({ el }) {
  el.hidden = true;
  const keep = ({ target }) => {
    if (target.matches?.(".aiotwin-panel select")) target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  document.addEventListener("focusin", keep);
  return () => document.removeEventListener("focusin", keep);
}

export default { render };
