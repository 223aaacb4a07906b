// Draws the diagrams of a page, in the colours that it is read in.
const choice = document.body.dataset.theme;
const dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default" });
mermaid.run();
