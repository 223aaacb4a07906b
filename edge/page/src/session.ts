// Who is signed in: by an OIDC provider (authorization code with PKCE), or by a development token.
//
// Tokens stay in this tab's session storage, and go with it.
import * as oauth from "oauth4webapi";

interface Provider {
  issuer: string;
  clientId: string;
  scope: string;
  audience: string;
}

interface Session {
  accessToken: string;
  /** In seconds since 1970; 0: not known. */
  expires: number;
  refreshToken?: string;
  user: string;
}

interface Attempt {
  verifier: string;
  state: string;
  nonce: string;
  back: string;
}

const SESSION = "marquee-session";
const ATTEMPT = "marquee-sign-in";
const CALLBACK = "/sign-in";
const EARLY_S = 30;

/** The provider that this edge takes tokens of, or null: development tokens. */
export const provider = read<Provider>(
  document.querySelector<HTMLMetaElement>('meta[name="marquee-sign-in"]')?.content,
);

const watchers = new Set<() => void>();
let session = read<Session>(sessionStorage.getItem(SESSION));
let ended = "";

/** The user's name, or null. */
export function user(): string | null {
  return session?.user ?? null;
}

/** Why nobody is signed in any more; "" if that is as the user wants it. */
export function whyEnded(): string {
  return ended;
}

/** Calls back at each change of who is signed in; returns what ends that. */
export function onChange(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** A token that is good for some seconds yet. */
export async function accessToken(): Promise<string> {
  if (!session) throw new Error("Sign in first.");
  const { expires, refreshToken } = session;
  if (provider && refreshToken && expires && expires - EARLY_S < Date.now() / 1000) {
    try {
      const server = await discover(provider);
      const answer = await oauth.refreshTokenGrantRequest(
        server, client(provider), oauth.None(), refreshToken, insecure(provider),
      );
      const given = await oauth.processRefreshTokenResponse(server, client(provider), answer);
      keep({ ...session, ...taken(given), refreshToken: given.refresh_token ?? refreshToken });
    } catch {
      // The API says what is wrong with the old one.
    }
  }
  return session.accessToken;
}

/** Signs out, in this tab; `why` is a sentence, if it is not the user who wants it. */
export function forget(why = ""): void {
  session = null;
  ended = why;
  sessionStorage.removeItem(SESSION);
  watchers.forEach((watcher) => watcher());
}

/** Signs in with a token of the development issuer. Throws an Error in words. */
export function useToken(pasted: string): void {
  const token = bare(pasted);
  const claims = claimsOf(token);
  if (!claims) throw new Error("This is no token. Copy the whole line that the command printed.");
  if (!claims.sub) throw new Error("This token names no user. Make another one.");
  if (claims.exp && claims.exp < Date.now() / 1000) {
    throw new Error("This token has expired. Make another one.");
  }
  keep({ accessToken: token, expires: claims.exp ?? 0, user: claims.sub });
}

/** Whom a token is for; "" if it is none. */
export function subject(pasted: string): string {
  return claimsOf(bare(pasted))?.sub ?? "";
}

/** The token in the link of `marquee token --link`, which no server sees; "" if there is none. */
export function brought(): string {
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  // It must not stay in the browser's history.
  if (token) history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

function bare(pasted: string): string {
  return pasted.trim().replace(/^Bearer\s+/i, "");
}

function claimsOf(token: string): { sub?: string; exp?: number } | null {
  try {
    const part = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (each) => each.charCodeAt(0))));
  } catch {
    return null;
  }
}

/** Goes to the provider; from there the browser comes back to `finish`. */
export async function begin(to: Provider, back: string): Promise<void> {
  const server = await discover(to);
  const attempt: Attempt = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    back,
  };
  const url = new URL(server.authorization_endpoint!);
  const query = {
    client_id: to.clientId,
    redirect_uri: location.origin + CALLBACK,
    response_type: "code",
    scope: to.scope,
    code_challenge: await oauth.calculatePKCECodeChallenge(attempt.verifier),
    code_challenge_method: "S256",
    state: attempt.state,
    nonce: attempt.nonce,
    // Whom the access token is for: RFC 8707's parameter, which must be a URL, and the one that some providers have.
    resource: resource(to),
    audience: to.audience,
  };
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  sessionStorage.setItem(ATTEMPT, JSON.stringify(attempt));
  location.assign(url);
}

/** Whether the browser has just come back from the provider. */
export function returning(): boolean {
  const query = new URLSearchParams(location.search);
  return location.pathname === CALLBACK && (query.has("code") || query.has("error"));
}

/** Ends the sign-in that `begin` began; returns the path to go on at. Throws an Error in words. */
export async function finish(from: Provider): Promise<string> {
  const attempt = read<Attempt>(sessionStorage.getItem(ATTEMPT));
  const url = new URL(location.href);
  sessionStorage.removeItem(ATTEMPT);
  history.replaceState(null, "", CALLBACK);
  if (!attempt) throw new Error("This sign-in was not begun in this tab. Begin it again here.");
  const server = await discover(from);
  try {
    const answered = oauth.validateAuthResponse(server, client(from), url, attempt.state);
    const answer = await oauth.authorizationCodeGrantRequest(
      server, client(from), oauth.None(), answered, location.origin + CALLBACK, attempt.verifier,
      { ...insecure(from), additionalParameters: resource(from) ? { resource: resource(from) } : {} },
    );
    const given = await oauth.processAuthorizationCodeResponse(server, client(from), answer, {
      expectedNonce: attempt.nonce,
    });
    const subject = oauth.getValidatedIdTokenClaims(given)?.sub ?? "";
    keep({ ...taken(given), refreshToken: given.refresh_token, user: subject });
  } catch (error) {
    throw new Error(`The provider did not sign you in: ${(error as Error).message}. Begin again.`);
  }
  return attempt.back;
}

function taken(given: oauth.TokenEndpointResponse): { accessToken: string; expires: number } {
  const lasts = given.expires_in;
  return { accessToken: given.access_token, expires: lasts ? Date.now() / 1000 + lasts : 0 };
}

async function discover(from: Provider): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(from.issuer);
  try {
    const answer = await oauth.discoveryRequest(issuer, insecure(from));
    return await oauth.processDiscoveryResponse(issuer, answer);
  } catch {
    throw new Error(`The sign-in of ${issuer.host} can't be reached. Try again later.`);
  }
}

function resource(of: Provider): string {
  return URL.canParse(of.audience) ? of.audience : "";
}

function client(of: Provider): oauth.Client {
  return { client_id: of.clientId };
}

/** Plain HTTP is for a provider on this machine; browsers themselves keep an https page from it. */
function insecure(of: Provider): { [oauth.allowInsecureRequests]: boolean } {
  return { [oauth.allowInsecureRequests]: of.issuer.startsWith("http://") };
}

function keep(next: Session): void {
  session = next;
  ended = "";
  sessionStorage.setItem(SESSION, JSON.stringify(next));
  watchers.forEach((watcher) => watcher());
}

function read<T>(text: string | null | undefined): T | null {
  try {
    return text ? (JSON.parse(text) as T) : null;
  } catch {
    return null;
  }
}
