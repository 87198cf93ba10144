// Finds the configuration for an address as Thunderbird does, from a daemon on this machine that all names stand for.
//
// It follows the rules of Thunderbird's FetchConfig, FetchHTTP, readFromXML and Sanitizer: which URLs, in which order,
// which answers count, and what of a document is taken. DNS and certificates are left out: `reachable` says which of the
// URLs have a server, by what they begin with.
//
//   node thunderbird.mjs HTTP-PORT HTTPS-PORT ADDRESS REACHABLE,...   prints one line of JSON

import http from "node:http";
import https from "node:https";

const [httpPort, httpsPort, address, reachable] = process.argv.slice(2);
const PROVIDERS = []; // the OAuth providers that Thunderbird knows by name: ours is none of them

// XML, as far as documents without a DTD need it; throws at whatever isn't well-formed.

function parseXml(text) {
  let at = 0;
  const fail = what => {
    throw new Error(`not well-formed at ${at}: ${what}`);
  };
  const match = pattern => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  const decode = raw =>
    raw.replace(/&([^;]*);?/g, (whole, name) => {
      const known = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
      if (!whole.endsWith(";")) fail("a lone ampersand");
      if (name in known) return known[name];
      const code = /^#(?:x([0-9a-fA-F]+)|([0-9]+))$/.exec(name);
      return code ? String.fromCodePoint(parseInt(code[1] ?? code[2], code[1] ? 16 : 10)) : fail(`entity ${name}`);
    });
  const element = () => {
    const open = match(/<([A-Za-z_][\w.-]*)/y) ?? fail("a start tag was wanted");
    const node = { name: open[1], attributes: {}, children: [], text: "" };
    for (let found; (found = match(/\s+([A-Za-z_][\w.:-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y)); ) {
      if (found[1] in node.attributes) fail("the same attribute twice");
      node.attributes[found[1]] = decode(found[2] ?? found[3]);
    }
    if (match(/\s*\/>/y)) return node;
    match(/\s*>/y) ?? fail("the end of a start tag was wanted");
    for (;;) {
      const close = match(/<\/([A-Za-z_][\w.-]*)\s*>/y);
      if (close) return close[1] === node.name ? node : fail(`</${close[1]}> ends <${node.name}>`);
      const characters = match(/[^<]+/y);
      if (characters) node.text += decode(characters[0]);
      else node.children.push(element());
    }
  };
  match(/<\?xml version="1\.[01]"( encoding="UTF-8")?\?>\s*/y);
  const root = element();
  match(/\s*/y);
  return at === text.length ? root : fail("something follows the root");
}

const all = (node, name) => node.children.filter(child => child.name === name);
const first = (node, name) => all(node, name)[0]?.text.trim();

// Sanitizer.

function hostname(text) {
  if (!text || !/^(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*$/.test(text)) throw new Error(`bad host name ${text}`);
  return text.toLowerCase();
}

function port(text) {
  const number = parseInt(text);
  if (!(number >= 1 && number <= 65535)) throw new Error(`bad port ${text}`);
  return number;
}

function oneOf(text, ...words) {
  if (!words.includes(text)) throw new Error(`${text} is none of ${words}`);
  return text;
}

// readFromXML.

function firstGood(nodes, read) {
  let error = new Error("there is none");
  for (const node of nodes) {
    try {
      return read(node.text.trim());
    } catch (problem) {
      error = problem;
    }
  }
  throw error;
}

function server(node, types) {
  const type = oneOf(node.attributes.type, ...types);
  const host = hostname(first(node, "hostname"));
  const found = { type, host, port: port(first(node, "port")) };
  found.socket = firstGood(all(node, "socketType"), text => oneOf(text, "plain", "SSL", "STARTTLS"));
  found.auth = firstGood(all(node, "authentication"), text => {
    oneOf(text, "password-cleartext", "plain", "password-encrypted", "secure", "GSSAPI", "NTLM", "OAuth2");
    if (text === "OAuth2" && !PROVIDERS.includes(host)) throw new Error(`no OAuth2 for ${host}`);
    return text;
  });
  found.username = first(node, "username");
  if (!found.username) throw new Error("no user name");
  return found;
}

function servers(provider, name, types) {
  const good = [];
  let error = new Error(`there is no ${name}`);
  for (const node of all(provider, name)) {
    try {
      good.push(server(node, types));
    } catch (problem) {
      error = problem;
    }
  }
  if (!good.length) throw error;
  return good;
}

function readFromXml(root) {
  const provider = all(root, "emailProvider")[0];
  if (root.name !== "clientConfig" || !provider) throw new Error("no emailProvider");
  const domains = all(provider, "domain").map(node => hostname(node.text.trim()));
  if (!domains.length) throw new Error("no domain");
  return {
    id: hostname(provider.attributes.id),
    name: first(provider, "displayName"),
    domains,
    incoming: servers(provider, "incomingServer", ["pop3", "imap", "nntp", "exchange"]),
    outgoing: servers(provider, "outgoingServer", ["smtp"]),
  };
}

// FetchHTTP and FetchConfig.

function fetchXml(url, redirects = 5) {
  return new Promise((resolve, reject) => {
    if (!reachable.split(",").some(start => url.href.startsWith(start))) return reject(new Error("no such server"));
    const tls = url.protocol === "https:";
    const request = (tls ? https : http).request({
      host: "127.0.0.1",
      port: tls ? httpsPort : httpPort,
      path: url.pathname + url.search,
      headers: { Host: url.host },
      rejectUnauthorized: false,
      agent: false,
      timeout: 5000,
    });
    request.on("error", reject);
    request.on("response", response => {
      const blocks = [];
      response.on("data", block => blocks.push(block));
      response.on("end", () => {
        const { statusCode: status, headers } = response;
        if (status >= 300 && status < 400 && headers.location && redirects) {
          return fetchXml(new URL(headers.location, url), redirects - 1).then(resolve, reject);
        }
        if (status < 200 || status >= 300) return reject(new Error(`status ${status}`));
        const type = headers["content-type"] ?? "";
        if (!["text/xml", "application/xml", "text/rdf"].some(each => type.startsWith(each))) {
          return reject(new Error(`type ${type}`));
        }
        try {
          resolve(parseXml(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(blocks))));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.end();
  });
}

const domain = hostname(address.split("@").pop());
const places = [`autoconfig.${domain}/mail/config-v1.1.xml`, `${domain}/.well-known/autoconfig/mail/config-v1.1.xml`];
const urls = ["https://", "http://"].flatMap(scheme => places.map(place => new URL(scheme + place)));
for (const url of urls) url.searchParams.append("emailaddress", address);

const answers = await Promise.allSettled(urls.map(url => fetchXml(url)));
const index = answers.findIndex(answer => answer.status === "fulfilled");
if (index < 0) {
  console.log(JSON.stringify({ errors: answers.map(answer => answer.reason.message) }));
} else {
  const config = readFromXml(answers[index].value);
  console.log(JSON.stringify({ url: urls[index].origin + urls[index].pathname, ...config }));
}
