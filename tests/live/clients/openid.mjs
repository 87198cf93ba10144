// openid-client: discovery, authorization code with PKCE, ID token, UserInfo, refresh, introspection, revocation,
// device flow, registration; and what it makes of a callback that isn't its own.
// The arguments are the issuer, client_id, client_secret and redirect URI. Where a user is needed, a line "open URL" is
// printed, and where the browser ends up is read as a line; it ends with exit code 0 and a line "walked".
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import * as oidc from "openid-client";

const [issuer, clientId, secret, redirectUri] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const http = { execute: [oidc.allowInsecureRequests] };
const MAIL = "urn:ietf:params:oauth:scope:mail";

async function user(url) {
  console.log(`open ${url}`);
  return (await lines.next()).value;
}

async function refused(promise, error) {
  await assert.rejects(promise, (thrown) => {
    assert.equal(thrown.error, error);
    return true;
  });
}

// Discovery; the confidential client authenticates by Basic.
const config = await oidc.discovery(new URL(issuer), clientId, undefined, oidc.ClientSecretBasic(secret), http);
assert.equal(config.serverMetadata().issuer, issuer);
assert.ok(config.serverMetadata().supportsPKCE());
assert.equal(config.serverMetadata().authorization_response_iss_parameter_supported, true);

async function begin(configuration, more = {}) {
  const verifier = oidc.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier: verifier, expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce() };
  const url = oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: redirectUri,
    scope: `openid profile email offline_access ${MAIL}`,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    ...more,
  });
  return { url, checks };
}

// Authorization code with PKCE. It verifies state, iss, nonce, at_hash and the signature by the key set.
const { url, checks } = await begin(config);
const callback = new URL(await user(url));
assert.equal(callback.searchParams.get("iss"), issuer);
const tokens = await oidc.authorizationCodeGrant(config, callback, checks);
assert.ok(tokens.refresh_token);
const subject = tokens.claims().sub;
assert.equal(tokens.claims().aud, clientId);

// A mix-up: the answer of another server is noticed. RFC 9207
const mixed = new URL(callback);
mixed.searchParams.set("iss", "https://other.example");
await assert.rejects(oidc.authorizationCodeGrant(config, mixed, checks), (thrown) => {
  assert.match(thrown.cause.message, /unexpected "iss"/);
  return true;
});

const claims = await oidc.fetchUserInfo(config, tokens.access_token, subject);
assert.equal(claims.email, claims.preferred_username);
await assert.rejects(oidc.fetchUserInfo(config, "swa_wrong", subject), { name: "WWWAuthenticateChallengeError" });

const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token);
assert.notEqual(fresh.refresh_token, tokens.refresh_token);
assert.equal(fresh.claims().sub, subject);
const narrow = await oidc.refreshTokenGrant(config, fresh.refresh_token, { scope: "openid" });
assert.equal(narrow.scope, "openid");
await refused(oidc.refreshTokenGrant(config, narrow.refresh_token, { scope: "openid account" }), "invalid_scope");

assert.equal((await oidc.tokenIntrospection(config, narrow.access_token)).active, true);
await oidc.tokenRevocation(config, narrow.access_token);
assert.equal((await oidc.tokenIntrospection(config, narrow.access_token)).active, false);
await oidc.tokenRevocation(config, narrow.refresh_token, { token_type_hint: "refresh_token" });
await refused(oidc.refreshTokenGrant(config, narrow.refresh_token), "invalid_grant");

// A user who doesn't agree, and one who can't be asked.
const denied = await begin(config, { login_hint: "deny" });
await refused(oidc.authorizationCodeGrant(config, new URL(await user(denied.url)), denied.checks), "access_denied");
const silent = await begin(config, { prompt: "none" });
await refused(oidc.authorizationCodeGrant(config, new URL(await user(silent.url)), silent.checks), "consent_required");

// The client registers itself, as a public one, and walks the device flow.
const metadata = {
  client_name: "Registered",
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  token_endpoint_auth_method: "none",
};
const own = await oidc.dynamicClientRegistration(new URL(issuer), metadata, oidc.None(), http);
await refused(
  oidc.dynamicClientRegistration(new URL(issuer), { ...metadata, redirect_uris: ["http://x.example/"] }, oidc.None(), http),
  "invalid_redirect_uri",
);
const device = await oidc.initiateDeviceAuthorization(own, { scope: `openid ${MAIL}` });
await user(device.verification_uri_complete);
const given = await oidc.pollDeviceAuthorizationGrant(own, { ...device, interval: 0.1 });
assert.equal(given.claims().sub, subject);

// As a public client it also gets in by a code.
const plain = await begin(own, { scope: "openid" });
const last = await oidc.authorizationCodeGrant(own, new URL(await user(plain.url)), plain.checks);
assert.equal(last.claims().sub, subject);
assert.equal(last.refresh_token, undefined);

console.log("walked");
process.exit(0);
