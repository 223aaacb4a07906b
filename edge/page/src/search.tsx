// Search as you type: the field stands in the header, what it finds in the page.
import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";

import { call, withQuery } from "./api";
import type { Movie } from "./api";
import { Heading, Trouble, film, useLoaded } from "./parts";

const PAUSE_MS = 180;
const SHORTEST = 2;
const LONGEST = 200;

export function SearchField() {
  const { path, query, route } = useLocation();
  const searching = path === "/search";
  const [text, setText] = useState(searching ? (query.q ?? "") : "");
  const before = useRef(path);
  useEffect(() => {
    // Not at the beginning: somebody may have typed already.
    if (before.current !== path && !searching) setText("");
    before.current = path;
  }, [path]);
  useEffect(() => {
    const wanted = text.trim();
    if (wanted.length < SHORTEST || (searching && wanted === query.q)) return;
    // Each key replaces the last, so that "back" leads to where the search began.
    const timer = setTimeout(() => route(withQuery("/search", { q: wanted }), searching), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  const submit = (event: Event) => {
    event.preventDefault();
    if (text.trim()) route(withQuery("/search", { q: text.trim() }), searching);
  };
  return (
    <form role="search" onSubmit={submit}>
      <label for="query" class="hidden">Search films</label>
      <input
        id="query"
        type="search"
        placeholder="Search films"
        autocomplete="off"
        spellcheck={false}
        maxLength={LONGEST}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </form>
  );
}

export function Search() {
  const { query } = useLocation();
  const words = (query.q ?? "").trim();
  const path = withQuery("/v1/movies:search", { query: words, pageSize: 20, readMask: "name,title,year,type,genres" });
  const found = useLoaded(path, async (signal) =>
    words.length < SHORTEST ? { movies: [] } : await call<{ movies?: Movie[] }>(path, { signal }),
  );
  const movies = found.value?.movies ?? [];
  return (
    <>
      <Heading title={words && `Search: ${words}`}>Search</Heading>
      <p role="status">{told(words, movies.length, found.loading, found.error)}</p>
      {found.error && <Trouble error={found.error} again={found.again} />}
      <ol class="chart">
        {movies.map((movie) => (
          <li key={movie.name}>
            <span class="what">
              <a href={film(movie.name)}>{movie.title}</a>
              {movie.year && <span class="quiet"> {movie.year}</span>}
              <span class="genres quiet">{[kind(movie.type), ...(movie.genres ?? [])].filter(Boolean).join(" · ")}</span>
            </span>
          </li>
        ))}
      </ol>
    </>
  );
}

function told(words: string, number: number, loading: boolean, error?: Error): string {
  if (words.length < SHORTEST) return "Type two letters or more of a title.";
  if (loading) return "Searching…";
  if (error) return "";
  if (!number) return `There is no film called “${words}”. One wrong letter is forgiven, in films that are known here already.`;
  return number === 1 ? "One film" : `${number} films, the best match first`;
}

function kind(type?: string): string {
  const names: Record<string, string> = {
    MOVIE_TYPE_SERIES: "Series", MOVIE_TYPE_EPISODE: "Episode", MOVIE_TYPE_GAME: "Game",
  };
  return names[type ?? ""] ?? "";
}
