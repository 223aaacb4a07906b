"""The page `/dash`: dashboards of the metrics, on a loopback address of its own, to be looked at only.

| module | |
|---|---|
| `app` | the server: the bundled page, the dashboards, and what may be asked of Prometheus |
| `bundle` | makes the page of `page/` and Perses' components, once, with npm |
"""
