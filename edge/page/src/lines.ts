// Streams of JSON, one object a line.

/** Yields each line as it comes, until the stream ends. */
export async function* lines(answer: Response): AsyncGenerator<string> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop()!;
      yield* parts.filter(Boolean);
    }
    if (rest) yield rest;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

const SHOWN = 20;
const WAIT_MS = 3000;

/** Like `fetch`, but answers with what comes within three seconds, 20 lines at most. */
export async function firstLines(url: string, request: RequestInit): Promise<Response> {
  const answer = await fetch(url, request);
  if (!answer.ok || !answer.body) return answer;
  const stream = lines(answer);
  const until = new Promise<undefined>((resolve) => setTimeout(resolve, WAIT_MS));
  const shown: string[] = [];
  while (shown.length < SHOWN) {
    const next = await Promise.race([stream.next(), until]);
    if (!next || next.done) break;
    shown.push(next.value);
  }
  void stream.return(undefined);
  return new Response(`${shown.join("\n")}\n`, { status: answer.status, headers: answer.headers });
}
