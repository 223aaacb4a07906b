// The API reference: Swagger UI on the edge's own openapi.json.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

import { firstLines } from "./lines";

const TOKEN = "marquee-docs-token";

interface Call extends RequestInit {
  url: string;
  userFetch?: (url: string, request: RequestInit) => Promise<Response>;
}

const ui = SwaggerUI({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  filter: true,
  validatorUrl: null,
  syntaxHighlight: { activated: true, theme: "agate" },
  requestInterceptor: (call: Call) => {
    // A stream ends after a minute at the soonest: its first lines are shown.
    if (/:(watch|export)(\?|$)/.test(call.url)) call.userFetch = firstLines;
    return call;
  },
  onComplete: () => {
    const token = sessionStorage.getItem(TOKEN);
    if (token) ui.preauthorizeApiKey("token", token);
    // The token stays in this tab, and goes with it.
    ui.getStore().subscribe(() => {
      const given = ui.authSelectors.authorized().getIn(["token", "value"]);
      if (given) sessionStorage.setItem(TOKEN, given);
      else sessionStorage.removeItem(TOKEN);
    });
  },
});
