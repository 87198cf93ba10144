// jmap-jam: login, list, read, search, change keywords, move, upload, write, download, push, send.
// The arguments are the session URL, the address and the password; it ends with exit code 0 and a line "walked".
import assert from "node:assert/strict";
import JamClient from "jmap-jam";
import { EventSource } from "eventsource";

const [sessionUrl, address, password] = process.argv.slice(2);
const authorization = `Basic ${Buffer.from(`${address}:${password}`).toString("base64")}`;

// jam sends the tokens of OAuth; its header and its session can be given anew.
const jam = new JamClient({ sessionUrl, bearerToken: "" });
await jam.session.catch(() => undefined);
jam.authHeader = authorization;
jam.session = JamClient.loadSession(sessionUrl, authorization);
globalThis.EventSource = class extends EventSource {
  constructor(url) {
    super(url, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: authorization } }),
    });
  }
};

const accountId = await jam.getPrimaryAccount();
assert.ok(accountId, "the session names no primary account for mail");

// List: mailboxes, then the newest mail of the inbox by result references.
const [mailboxes] = await jam.api.Mailbox.get({ accountId });
const byRole = Object.fromEntries(mailboxes.list.filter((box) => box.role).map((box) => [box.role, box]));
assert.ok(byRole.inbox.totalEmails > 5);
const [listed] = await jam.requestMany((t) => {
  const query = t.Email.query({
    accountId,
    filter: { inMailbox: byRole.inbox.id },
    sort: [{ property: "receivedAt", isAscending: false }],
    collapseThreads: true,
    limit: 20,
    calculateTotal: true,
  });
  const emails = t.Email.get({
    accountId,
    ids: query.$ref("/ids"),
    properties: ["id", "threadId", "subject", "from", "receivedAt", "keywords", "preview", "mailboxIds"],
  });
  const threads = t.Thread.get({ accountId, ids: emails.$ref("/list/*/threadId") });
  return { query, emails, threads };
});
assert.equal(listed.query.total, byRole.inbox.totalThreads);
assert.equal(listed.emails.list.length, listed.query.ids.length);
assert.equal(listed.threads.notFound.length, 0);

// Read.
const first = listed.emails.list[0];
const [read] = await jam.api.Email.get({
  accountId,
  ids: [first.id],
  properties: ["subject", "bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments"],
  fetchAllBodyValues: true,
});
assert.equal(read.list[0].subject, first.subject);
assert.ok(Object.keys(read.list[0].bodyValues).length > 0);

// Push: the stream is open before anything is written.
const { changed, stream } = await watch();

// Upload, and write a draft that carries it.
const octets = new Uint8Array(70_000).map((_, index) => index % 251);
const upload = await jam.uploadBlob(accountId, octets);
assert.equal(upload.size, octets.length);
const [written] = await jam.api.Email.set({
  accountId,
  create: {
    draft: {
      mailboxIds: { [byRole.drafts.id]: true },
      keywords: { $draft: true, $seen: true },
      from: [{ name: "Jané Doe", email: address }],
      to: [{ name: null, email: "friend@example.net" }],
      subject: "Zwölf zauberhafte Äpfel",
      bodyStructure: {
        type: "multipart/mixed",
        subParts: [
          { partId: "text", type: "text/plain" },
          { blobId: upload.blobId, type: "application/octet-stream", name: "ünïts.bin", disposition: "attachment" },
        ],
      },
      bodyValues: { text: { value: "Gruß aus dem Obstgarten\n" } },
    },
  },
});
assert.ok(written.created?.draft, JSON.stringify(written.notCreated));
const draft = written.created.draft.id;
const states = await changed;
assert.ok(states.Email && states.Mailbox, JSON.stringify(states));
stream.close();

// Search, with snippets.
const filter = { text: "obstgarten" };
const [found] = await jam.api.Email.query({ accountId, filter });
assert.deepEqual(found.ids, [draft]);
const [snippets] = await jam.api.SearchSnippet.get({ accountId, filter, emailIds: found.ids });
assert.match(snippets.list[0].preview, /<mark>Obstgarten<\/mark>/);

// Download what was attached.
const [back] = await jam.api.Email.get({ accountId, ids: [draft], properties: ["attachments", "hasAttachment"] });
const attached = back.list[0].attachments[0];
assert.equal(back.list[0].hasAttachment, true);
assert.equal(attached.name, "ünïts.bin");
const download = await jam.downloadBlob({
  accountId,
  blobId: attached.blobId,
  mimeType: "application/octet-stream",
  fileName: "units.bin",
});
assert.deepEqual(new Uint8Array(await download.arrayBuffer()), octets);

// Keywords and moving, in one call each; then what changed since.
const before = listed.emails.state;
const [flagged] = await jam.api.Email.set({
  accountId,
  update: { [first.id]: { "keywords/$flagged": true, "keywords/$seen": true } },
});
assert.ok(first.id in flagged.updated, JSON.stringify(flagged.notUpdated));
const [moved] = await jam.api.Email.set({
  accountId,
  update: { [first.id]: { mailboxIds: { [byRole.archive.id]: true } } },
});
assert.ok(first.id in moved.updated, JSON.stringify(moved.notUpdated));
const [changes] = await jam.api.Email.changes({ accountId, sinceState: before });
assert.deepEqual([changes.created, changes.updated, changes.destroyed], [[draft], [first.id], []]);
const [after] = await jam.api.Email.get({ accountId, ids: [first.id], properties: ["keywords", "mailboxIds"] });
assert.equal(after.list[0].keywords.$flagged, true);
assert.deepEqual(after.list[0].mailboxIds, { [byRole.archive.id]: true });

// Send the draft with its attachment to oneself, and take back a delayed one.
const [identities] = await jam.api.Identity.get({ accountId });
const { id: identityId, email: own } = identities.list[0];
const envelope = (parameters) => ({ mailFrom: { email: own, parameters }, rcptTo: [{ email: own, parameters: null }] });
const [submitted] = await jam.api.EmailSubmission.set({
  accountId,
  create: {
    now: { identityId, emailId: draft, envelope: envelope(null) },
    later: { identityId, emailId: draft, envelope: envelope({ HOLDFOR: "600" }) },
  },
});
assert.ok(submitted.created, JSON.stringify(submitted.notCreated));
const { now, later } = submitted.created;
const [undone] = await jam.api.EmailSubmission.set({
  accountId,
  update: { [later.id]: { undoStatus: "canceled" } },
});
assert.ok(later.id in undone.updated, JSON.stringify(undone.notUpdated));
let status;
for (let tries = 0; tries < 200 && status?.delivered !== "yes"; tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const [shown] = await jam.api.EmailSubmission.get({ accountId, ids: [now.id] });
  status = shown.list[0].deliveryStatus[own];
}
assert.equal(status.delivered, "yes");
const [arrived] = await jam.api.Email.query({ accountId, filter: { ...filter, inMailbox: byRole.inbox.id } });
const [received] = await jam.api.Email.get({ accountId, ids: arrived.ids, properties: ["attachments"] });
assert.equal(received.list[0].attachments[0].name, "ünïts.bin");

console.log("walked");

async function watch() {
  const stream = await jam.connectEventSource({ types: "*", ping: 30 });
  await new Promise((resolve, reject) => {
    stream.onopen = resolve;
    stream.onerror = (event) => reject(new Error(`event source: ${event.message ?? "failed"}`));
  });
  const states = {};
  const changed = new Promise((resolve) => {
    stream.addEventListener("state", (event) => {
      Object.assign(states, JSON.parse(event.data).changed[accountId]);
      if (states.Email && states.Mailbox) resolve(states);
    });
  });
  return { changed, stream };
}
