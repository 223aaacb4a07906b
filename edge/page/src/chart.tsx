// Charts: the home page's two, and all of them by genre and decade.
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";

import { call, withQuery } from "./api";
import type { Entry } from "./api";
import { Heading, Trouble, dollars, film, oneDigit, useLoaded, votes } from "./parts";

const KINDS = {
  "top-rated": "Best rated",
  trending: "Trending",
  "most-voted": "Most voted",
  "box-office": "Box office",
} as const;

type Kind = keyof typeof KINDS;

const GENRES = [
  "Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy",
  "Film-Noir", "History", "Horror", "Music", "Musical", "Mystery", "Romance", "Sci-Fi", "Sport", "Thriller", "War",
  "Western",
];
const THIS_DECADE = Math.floor(new Date().getFullYear() / 10) * 10;
const DECADES = Array.from({ length: (THIS_DECADE - 1890) / 10 + 1 }, (_, number) => THIS_DECADE - number * 10);

interface Page {
  entries?: Entry[];
  nextPageToken: string;
}

export function Home() {
  return (
    <>
      <Heading title="">What people think of films</Heading>
      <div class="columns">
        <section aria-labelledby="trending">
          <h2 id="trending">Trending</h2>
          <Lines kind="trending" size={10} />
          <p><a href="/charts?kind=trending">More that is trending</a></p>
        </section>
        <section aria-labelledby="best">
          <h2 id="best">Best rated</h2>
          <Lines kind="top-rated" size={10} />
          <p><a href="/charts">More of the best</a></p>
        </section>
      </div>
    </>
  );
}

export function Charts() {
  const { query, route } = useLocation();
  const kind: Kind = query.kind && query.kind in KINDS ? (query.kind as Kind) : "top-rated";
  const genre = query.genre ?? "";
  const decade = query.decade ?? "";
  const choose = (change: Record<string, string>) =>
    route(withQuery("/charts", { kind, genre, decade, ...change }), true);
  const title = [KINDS[kind], genre, decade && `${decade}s`].filter(Boolean).join(", ");
  return (
    <>
      <Heading title={title}>Charts</Heading>
      <form class="choices" onSubmit={(event) => event.preventDefault()}>
        <label>
          Order
          <select value={kind} onChange={(event) => choose({ kind: event.currentTarget.value })}>
            {Object.entries(KINDS).map(([value, name]) => <option key={value} value={value}>{name}</option>)}
          </select>
        </label>
        <label>
          Genre
          <select value={genre} onChange={(event) => choose({ genre: event.currentTarget.value })}>
            <option value="">All genres</option>
            {GENRES.map((name) => <option key={name}>{name}</option>)}
          </select>
        </label>
        <label>
          Decade
          <select value={decade} onChange={(event) => choose({ decade: event.currentTarget.value })}>
            <option value="">All decades</option>
            {DECADES.map((year) => <option key={year} value={year}>{year}s</option>)}
          </select>
        </label>
      </form>
      <Lines key={title} kind={kind} genre={genre} decade={decade} size={50} more />
    </>
  );
}

interface Wanted {
  kind: Kind;
  genre?: string;
  decade?: string;
  size: number;
  more?: boolean;
}

function Lines({ kind, genre, decade, size, more }: Wanted) {
  const [token, setToken] = useState("");
  const [before, setBefore] = useState<Entry[]>([]);
  const path = withQuery(`/v1/charts/${kind}`, { genre, decade, pageSize: size, pageToken: token });
  const page = useLoaded(path, (signal) => call<Page>(path, { signal }));
  const entries = page.loading ? before : [...before, ...(page.value?.entries ?? [])];
  const next = page.value?.nextPageToken;
  const showMore = () => {
    setBefore(entries);
    setToken(next!);
  };
  return (
    <>
      {entries.length > 0 && (
        <ol class="chart">
          {entries.map((entry) => <Line key={entry.movie} entry={entry} kind={kind} />)}
        </ol>
      )}
      {page.error && <Trouble error={page.error} again={page.again} />}
      {page.loading && <p role="status">Loading the chart…</p>}
      {!page.loading && !page.error && !entries.length && <p role="status">There is no film in this chart yet.</p>}
      {more && next && !page.loading && <button type="button" onClick={showMore}>Show more</button>}
    </>
  );
}

function Line({ entry, kind }: { entry: Entry; kind: Kind }) {
  const said = kind === "box-office" ? entry.boxOfficeUsd && dollars(entry.boxOfficeUsd) : votes(entry.votes);
  const score = kind === "top-rated" ? entry.weighted : entry.mean;
  return (
    <li>
      <span class="rank">{entry.rank}</span>
      <span class="what">
        <a href={film(entry.movie)}>{entry.title || entry.movie}</a>
        {entry.year && <span class="quiet"> {entry.year}</span>}
        <span class="genres quiet">{entry.genres.join(" · ")}</span>
      </span>
      <span class="said">
        {score !== undefined && <strong>{oneDigit(score)}</strong>}
        <span class="quiet">{said}</span>
      </span>
    </li>
  );
}
