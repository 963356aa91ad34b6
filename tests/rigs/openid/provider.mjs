// A real OpenID Provider (panva's oidc-provider) on loopback, headless: a login form of one field, consent given.
//
//   node provider.mjs <folder>
//
// <folder>/settings.json  issuer, port, client, groups_in, test_token           written before each start
// <folder>/state.json     accounts and redirect URIs                            read anew: see below
// <folder>/keys.json      the signing keys, newest first                        written here
//
// Accounts are read at every use. After a change of redirect URIs POST /test/rebuild; POST /test/rotate-keys makes a
// new signing key and forgets the old ones, unless ?keep=1. Both want "Authorization: Bearer <test_token>".
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// node_modules may stand in a cache outside this folder; ES modules know no NODE_PATH, require does.
const { Provider } = await import(
  pathToFileURL(createRequire(join(process.env.KUBE_IAM_NODE_MODULES, 'x.js')).resolve('oidc-provider')).href
);

const folder = process.argv[2];
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const settings = read('settings.json');
const CLAIMS = {
  openid: ['sub', ...settings.extra_claims],
  profile: ['name', 'preferred_username'],
  email: ['email', 'email_verified'],
  groups: ['groups'],
};

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

function signingKeys() {
  if (!existsSync(join(folder, 'keys.json'))) saveKeys([newKey()]);
  return read('keys.json');
}

function saveKeys(keys) {
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(keys), { mode: 0o600 });
}

/** Whoever `login` names: a subject, a preferred username or an address. */
function subjectOf(login) {
  const { accounts } = read('state.json');
  return Object.keys(accounts).find((sub) => sub === login)
    ?? Object.keys(accounts).find((sub) => [accounts[sub].preferred_username, accounts[sub].email].includes(login));
}

async function findAccount(ctx, sub) {
  const claims = read('state.json').accounts[sub];
  if (claims === undefined) return undefined;
  return {
    accountId: sub,
    async claims(use) {
      const { groups, ...rest } = claims;
      const hidden = groups === undefined || (use === 'id_token' && settings.groups_in === 'userinfo');
      return hidden ? { ...rest, sub } : { ...rest, groups, sub };
    },
  };
}

/** Consent to everything that is asked for. */
async function loadExistingGrant(ctx) {
  const { client, session, params } = ctx.oidc;
  const known = ctx.oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  const grant = (known && await ctx.oidc.provider.Grant.find(known))
    || new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  await grant.save();
  return grant;
}

function page(title, body) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>`
    + `<body><main><h1>${title}</h1>${body}</main></body></html>`;
}

function build() {
  const { redirect_uris, post_logout_redirect_uris } = read('state.json');
  return new Provider(settings.issuer, {
    clients: [{
      client_id: settings.client_id,
      client_secret: settings.client_secret,
      redirect_uris,
      post_logout_redirect_uris,
      response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token'],
    }],
    jwks: { keys: signingKeys() },
    cookies: { keys: [settings.test_token] },
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
    claims: CLAIMS,
    conformIdTokenClaims: false,
    pkce: { required: () => true, methods: ['S256'] },
    findAccount,
    loadExistingGrant,
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = page('Sign out', `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
        },
        postLogoutSuccessSource: async (ctx) => { ctx.body = page('Signed out', ''); },
      },
      revocation: { enabled: true },
    },
    renderError: async (ctx, out) => {
      ctx.type = 'json';
      ctx.body = out;
    },
    ttl: { AccessToken: 600, IdToken: 600, Interaction: 600, Session: 3600, Grant: 3600, RefreshToken: 3600 },
  });
}

async function formOf(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

/** GET shows the login form; POST login=<account> signs in, POST cancel=1 refuses; a known login_hint does both. */
async function interact(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  const form = request.method === 'POST' ? await formOf(request) : new URLSearchParams();
  if (form.has('cancel')) {
    return provider.interactionFinished(request, response, {
      error: 'access_denied', error_description: 'the user cancelled',
    });
  }
  if (prompt.name === 'consent') return provider.interactionFinished(request, response, { consent: {} });
  const accountId = subjectOf(form.get('login') ?? params.login_hint);
  if (accountId !== undefined) {
    return provider.interactionFinished(request, response, { login: { accountId } });
  }
  response.writeHead(request.method === 'POST' ? 401 : 200, { 'content-type': 'text/html; charset=utf-8' });
  return response.end(page('Sign in', '<form method="post"><label>Account <input name="login" autofocus></label>'
    + '<button>Sign in</button> <button name="cancel" value="1">Cancel</button></form>'));
}

function administer(request, response, url) {
  if (request.method !== 'POST' || request.headers.authorization !== `Bearer ${settings.test_token}`) {
    response.writeHead(403).end();
    return;
  }
  if (url.pathname === '/test/rotate-keys') {
    saveKeys([newKey(), ...(url.searchParams.has('keep') ? signingKeys() : [])]);
  }
  provider = build();
  answer = provider.callback();
  response.writeHead(204).end();
}

let provider = build();
let answer = provider.callback();

createServer((request, response) => {
  const url = new URL(request.url, settings.issuer);
  if (url.pathname.startsWith('/test/')) return administer(request, response, url);
  if (!url.pathname.startsWith('/interaction/')) return answer(request, response);
  return interact(request, response).catch((error) => {
    console.error(error);
    response.writeHead(error.status ?? 500, { 'content-type': 'text/plain' }).end(error.message);
  });
}).listen(settings.port, '127.0.0.1');
