// A real OIDC provider with one public client: `node provider.mjs PORT REDIRECT_URI AUDIENCE ACCESS_TOKEN_SECONDS`.
import Provider from "oidc-provider";

const [port, redirectUri, audience, seconds] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "marquee-page",
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      redirect_uris: [redirectUri],
    },
  ],
  clientBasedCORS: () => true,
  pkce: { required: () => true },
  issueRefreshToken: () => true,
  ttl: { AccessToken: Number(seconds) },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: "",
        audience,
        accessTokenTTL: Number(seconds),
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
      useGrantedResource: () => true,
    },
  },
});

const server = provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
process.on("SIGTERM", () => server.close());
