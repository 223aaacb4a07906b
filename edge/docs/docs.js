// The page of the API: reads /openapi.json, shows its operations and calls them.
"use strict";

const SHOWN_HEADERS = ["content-type", "cache-control", "age", "etag", "retry-after", "ratelimit-limit",
  "ratelimit-remaining", "ratelimit-reset", "api-version", "deprecation", "sunset", "x-marquee-source", "x-request-id"];
const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// `code` and | tables | are all the Markdown that the description has.
function prose(text) {
  const parts = text.split("\n\n").map((paragraph) => {
    if (paragraph.startsWith("|")) {
      const rows = paragraph.split("\n").filter((row) => !/^\|[-|]+\|$/.test(row))
        .map((row) => row.slice(1, -1).split("|").map((cell) => cell.trim()));
      return element("table", {}, ...rows.map((cells, index) =>
        element("tr", {}, ...cells.map((cell) => element(index ? "td" : "th", {}, cell)))));
    }
    return element("p", {}, ...words(paragraph));
  });
  return element("div", {}, ...parts);
}

function words(text) {
  return text.split(/(`[^`]+`)/).map((piece) => (piece.startsWith("`") ? element("code", {}, piece.slice(1, -1)) : piece));
}

class Operation {
  constructor(description, verb, path, operation) {
    Object.assign(this, { description, verb, path, operation, inputs: new Map() });
    this.root = byId("operation").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.root.querySelector(selector);
    find(".verb").textContent = verb.toUpperCase();
    find(".verb").classList.add(verb);
    find(".path").textContent = path;
    find(".title").textContent = operation.summary;
    find(".description").append(prose(operation.description || ""));
    for (const parameter of operation.parameters) this.addField(parameter);
    if (operation.requestBody) this.addBody();
    find("form").addEventListener("submit", (event) => { event.preventDefault(); this.call(); });
    find(".stop").addEventListener("click", () => this.aborter?.abort());
    const [type, content] = Object.entries(operation.responses["200"].content)[0];
    this.streams = type === "application/x-ndjson";
    find(".schema > div").append(this.table(content.schema));
  }

  resolve(schema) {
    return schema.$ref ? { ...this.description.components.schemas[schema.$ref.split("/").pop()], ...schema } : schema;
  }

  addField(parameter) {
    const schema = this.resolve(parameter.schema);
    const id = `${this.operation.operationId}-${parameter.name}`;
    const input = schema.enum
      ? element("select", { id }, ...(parameter.required ? [] : [element("option", { value: "" }, "–")]),
        ...schema.enum.map((value) => element("option", {}, value)))
      : element("input", { id, value: parameter.example ?? "", required: Boolean(parameter.required) });
    if (schema.type === "array") input.placeholder = "several, separated by commas";
    this.inputs.set(parameter, input);
    this.append(id, parameter.name, parameter.required, input, parameter.description);
  }

  addBody() {
    const id = `${this.operation.operationId}-body`;
    const schema = this.operation.requestBody.content["application/json"].schema;
    this.body = element("textarea", { id, value: JSON.stringify(this.example(schema), null, 2), spellcheck: false });
    this.append(id, "body", true, this.body, "");
  }

  append(id, name, required, input, said) {
    const label = element("label", { htmlFor: id, className: required ? "required" : "" }, name);
    this.root.querySelector(".fields").append(element("div", { className: "field" }, label, input, element("small", {}, ...words(said))));
  }

  example(given) {
    const schema = this.resolve(given);
    if (schema.type === "array") return [this.example(schema.items)];
    if (schema.type === "object") {
      return Object.fromEntries(Object.entries(schema.properties ?? {}).filter(([, each]) => !each.readOnly)
        .map(([name, each]) => [name, this.named(name) ?? this.example(each)]));
    }
    return { integer: 0, number: 0, boolean: false }[schema.type] ?? "";
  }

  named(name) {
    return { score: 9, name: "users/me/ratings/tt0111161", requestId: crypto.randomUUID?.() }[name];
  }

  table(given) {
    const schema = this.resolve(given);
    const rows = Object.entries(schema.properties ?? {}).map(([name, each]) => {
      const inner = each.type === "array" ? this.resolve(each.items) : this.resolve(each);
      const kind = (each.type === "array" ? "array of " : "") + ((each.items ?? each).$ref?.split("/").pop() ?? inner.type);
      return element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, kind),
        element("td", {}, ...words(each.description ?? "")));
    });
    return element("table", {}, ...rows);
  }

  url() {
    let path = this.path;
    const query = new URLSearchParams();
    for (const [parameter, input] of this.inputs) {
      const value = input.value.trim();
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (value && parameter.schema.type === "array") for (const each of value.split(",")) query.append(parameter.name, each.trim());
      else if (value) query.append(parameter.name, value);
    }
    return path + (query.size ? `?${query}` : "");
  }

  async call() {
    const token = byId("token").value.trim();
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (this.body) headers["content-type"] = "application/json";
    const url = this.url();
    const find = (selector) => this.root.querySelector(selector);
    const curl = ["curl", "-X", this.verb.toUpperCase(), `'${location.origin}${url}'`];
    for (const name of Object.keys(headers)) curl.push("-H", `'${name}: ${name === "authorization" ? "Bearer $TOKEN" : headers[name]}'`.replace(/'(.*\$TOKEN)'/, '"$1"'));
    if (this.body) curl.push("-d", `'${this.body.value.replaceAll("'", "'\\''")}'`);
    find(".result").hidden = false;
    find(".curl").textContent = curl.join(" ");
    find(".body").textContent = "";
    find(".status").textContent = "…";
    this.aborter?.abort();
    this.aborter = new AbortController();
    const started = performance.now();
    try {
      const answer = await fetch(url, { method: this.verb.toUpperCase(), headers, body: this.body?.value, signal: this.aborter.signal });
      const shown = SHOWN_HEADERS.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
      find(".status").textContent = `${answer.status} in ${Math.round(performance.now() - started)} ms`;
      find(".status").classList.toggle("bad", !answer.ok);
      find(".body").textContent = shown.join("\n") + "\n\n";
      if (this.streams && answer.ok) await this.show(answer.body);
      else find(".body").textContent += pretty(await answer.text());
    } catch (error) {
      if (error.name !== "AbortError") find(".status").textContent = String(error);
    }
    find(".stop").hidden = true;
  }

  async show(stream) {
    this.root.querySelector(".stop").hidden = false;
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      this.root.querySelector(".body").textContent += piece.value;
    }
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function start() {
  const description = await (await fetch("/openapi.json")).json();
  byId("version").textContent = description.info.version;
  byId("summary").textContent = description.info.summary;
  byId("about").append(element("h2", {}, "Good to know"), prose(description.info.description));
  const sections = new Map(description.tags.map((tag) =>
    [tag.name, element("section", {}, element("h2", {}, tag.name), prose(tag.description))]));
  for (const [path, verbs] of Object.entries(description.paths)) {
    for (const [verb, operation] of Object.entries(verbs)) {
      sections.get(operation.tags[0]).append(new Operation(description, verb, path, operation).root);
    }
  }
  byId("operations").replaceChildren(...sections.values());
  byId("token").value = sessionStorage.getItem("token") ?? "";
  byId("token").addEventListener("input", (event) => sessionStorage.setItem("token", event.target.value));
}

start().catch((error) => { byId("operations").textContent = `The description could not be read: ${error}`; });
