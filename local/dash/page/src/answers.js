// What the page asks its own server.

/** Asks for JSON; an answer that is none, or an error, becomes one with a sentence. */
export async function ask(path) {
  const answer = await fetch(`/dash/${path}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(text || `${path}: HTTP ${answer.status}`);
  return JSON.parse(text);
}
