"""The dashboards, in one source: Perses' JSON for the page of one machine, Grafana's for clusters."""
