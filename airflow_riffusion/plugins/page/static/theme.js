// Airflow's own colours: light or dark, as chosen there, and those of a theme of its own.

const COLOURS = {
  "--ground": "--chakra-colors-bg",
  "--ink": "--chakra-colors-fg",
  "--quiet": "--chakra-colors-fg-muted",
  "--line": "--chakra-colors-border",
};

export function followAirflow() {
  const airflow = surroundings();
  if (airflow === null) return;
  const follow = () => {
    const classes = airflow.documentElement.classList;
    const theme = classes.contains("dark") ? "dark" : classes.contains("light") ? "light" : null;
    const root = document.documentElement;
    if (theme === null) delete root.dataset.theme;
    else root.dataset.theme = theme;
    const colours = getComputedStyle(airflow.documentElement);
    for (const [own, name] of Object.entries(COLOURS)) {
      root.style.setProperty(own, colours.getPropertyValue(name).trim() || null);
    }
  };
  follow();
  new MutationObserver(follow).observe(airflow.documentElement, { attributeFilter: ["class", "style"] });
}

// A frame in Airflow's UI may neither navigate nor open windows, but a link of Airflow's own may.
export function openInAirflow(event) {
  const airflow = surroundings();
  if (airflow === null) return;
  event.preventDefault();
  const link = airflow.createElement("a");
  link.href = event.currentTarget.href;
  airflow.body.append(link);
  const { ctrlKey, metaKey, shiftKey } = event;
  link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey, metaKey, shiftKey }));
  link.remove();
}

function surroundings() {
  try {
    return window.parent === window ? null : window.parent.document;
  } catch {
    return null; // a page of another origin
  }
}
