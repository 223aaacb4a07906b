"""What stands beside Envoy: its configuration, development tokens, the API description and its page.

Where to look:

- What goes in: `contract` (the protos), `policies` (each RPC's class, from envoy/routes.yaml), `settings`,
  `limits`, `issuer`, and envoy/'s other YAML (`template`).
- What Envoy reads: `render` writes it all, `publish` tries it before it replaces what is there. `routes` are
  the most of it, with what they share out to `direct`, `queries`, `division`, `shedding`, `compression`,
  `deprecation`; `upstreams` are the clusters, `errors` Envoy's own answers, `shared_limits` the rate-limit
  service's table, `envoy_module` compiles the filters in C. `files` replaces what a running Envoy reads.
- New releases and experiments: `trials` is the record, `live` writes the routes from it. `canary` is the
  operator's hand; `controller` follows flags (`flag_source`, `flags`), delivers (`delivery`, `statistics`).
- For people: `status`; `pages`, bundled from page/ by `page_build` with `npm`; `openapi` with `keywords`,
  what the API's reference shows. `tokens` is the development issuer.
"""
