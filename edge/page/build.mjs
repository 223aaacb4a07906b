// Bundles the page and the API reference into `dist`: `npm run build`.
//
// Every asset's name has a hash of its content, so browsers may keep it for good; it lies there plain,
// and compressed as small as gzip and brotli can make it, so that the edge has no work with it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { build } from "esbuild";

const out = "dist";
mkdirSync(out, { recursive: true });

const TYPES = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };

const built = await build({
  entryPoints: ["src/main.tsx", "src/style.css", "src/docs.ts", "src/docs.css"],
  outdir: out,
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  metafile: true,
  logLevel: "warning",
});

const assets = [];
const named = {};
for (const [path, { entryPoint }] of Object.entries(built.metafile.outputs)) {
  const file = basename(path);
  const content = readFileSync(join(out, file));
  writeFileSync(join(out, `${file}.gz`), gzipSync(content, { level: 9 }));
  const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 };
  writeFileSync(join(out, `${file}.br`), brotliCompressSync(content, { params: quality }));
  assets.push({ file, type: TYPES[file.split(".").pop()] });
  named[basename(entryPoint)] = `/assets/${file}`;
}
for (const page of ["index.html", "docs.html"]) {
  const html = readFileSync(join("src", page), "utf8");
  const filled = html.replace(/@([a-z]+\.[a-z]+)@/g, (_, name) => {
    if (!named[name]) throw new Error(`${page} names ${name}, which is no entry point`);
    return named[name];
  });
  writeFileSync(join(out, page), filled);
}
// Last: the folder is whole when this is there.
writeFileSync(join(out, "manifest.json"), `${JSON.stringify({ assets }, null, 1)}\n`);
