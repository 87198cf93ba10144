// jmap-client-ts: login, list, read, search, change keywords, move, create, destroy and send. It has no upload and no push.
// It names every capability of the session in each request. The arguments are as those of jam.mjs.
import assert from "node:assert/strict";
import jmap from "jmap-client-ts";
import transports from "jmap-client-ts/lib/utils/fetch-transport.js";

const [sessionUrl, address, password] = process.argv.slice(2);
const authorization = `Basic ${Buffer.from(`${address}:${password}`).toString("base64")}`;
const client = new jmap.Client({
  sessionUrl,
  accessToken: "",
  transport: new transports.FetchTransport(fetch),
  // Without the type, fetch calls a string text/plain.
  httpHeaders: { Authorization: authorization, "Content-Type": "application/json" },
});
await client.fetchSession();
const accountId = client.getFirstAccountId();

const mailboxes = await client.mailbox_get({ accountId, ids: null });
const byRole = Object.fromEntries(mailboxes.list.filter((box) => box.role).map((box) => [box.role, box]));
const query = await client.email_query({
  accountId,
  filter: { inMailbox: byRole.inbox.id },
  sort: [{ property: "receivedAt", isAscending: false }],
  limit: 5,
});
const emails = await client.email_get({ accountId, ids: query.ids, properties: ["subject", "keywords", "preview"] });
assert.deepEqual(emails.list.map((email) => email.id), query.ids);

// Read, and search: by a word of the subject, of the message itself.
const [newest] = emails.list;
const read = await client.email_get({
  accountId,
  ids: [newest.id],
  properties: ["subject", "textBody", "bodyValues"],
  fetchTextBodyValues: true,
});
const [part] = read.list[0].textBody;
assert.ok(read.list[0].bodyValues[part.partId].value.length > 0);
const [word] = newest.subject.match(/\p{L}{4,}/u);
const found = await client.email_query({ accountId, filter: { subject: word } });
assert.ok(found.ids.includes(newest.id), word);
const none = await client.email_query({ accountId, filter: { text: `${word}xyzzy` } });
assert.deepEqual(none.ids, []);

const made = await client.mailbox_set({ accountId, create: { shelf: { name: "Régál" } } });
const shelf = made.created.shelf.id;
const [email] = query.ids;
const updated = await client.email_set({
  accountId,
  update: { [email]: { "keywords/$answered": true, [`mailboxIds/${shelf}`]: true } },
});
assert.ok(email in updated.updated, JSON.stringify(updated.notUpdated));
const shelved = await client.email_query({
  accountId,
  filter: { operator: "AND", conditions: [{ inMailbox: shelf }, { hasKeyword: "$answered" }] },
});
assert.deepEqual(shelved.ids, [email]);
const changes = await client.email_changes({ accountId, sinceState: emails.state });
assert.deepEqual(changes.updated, [email]);
const boxes = await client.mailbox_changes({ accountId, sinceState: mailboxes.state });
assert.deepEqual(boxes.created, [shelf]);

const kept = await client.mailbox_set({ accountId, destroy: [shelf] });
assert.equal(kept.notDestroyed[shelf].type, "mailboxHasEmail");
const gone = await client.mailbox_set({ accountId, destroy: [shelf], onDestroyRemoveEmails: true });
assert.deepEqual(gone.destroyed, [shelf]);
const left = await client.email_get({ accountId, ids: [email], properties: ["mailboxIds"] });
assert.deepEqual(Object.keys(left.list[0].mailboxIds), [byRole.inbox.id]);
const destroyed = await client.email_set({ accountId, destroy: [email] });
assert.deepEqual(destroyed.destroyed, [email]);

// Send to oneself, and take back a delayed one.
// It knows no identities: they are asked for without it.
const asked = await fetch(client.getSession().apiUrl, {
  method: "POST",
  headers: { Authorization: authorization, "Content-Type": "application/json" },
  body: JSON.stringify({
    using: ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:submission"],
    methodCalls: [["Identity/get", { accountId }, "0"]],
  }),
});
const identities = (await asked.json()).methodResponses[0][1].list;
// It has no upload either.
const octets = Uint8Array.from({ length: 5000 }, (_, index) => index % 256);
const uploaded = await fetch(client.getSession().uploadUrl.replace("{accountId}", accountId), {
  method: "POST",
  headers: { Authorization: authorization, "Content-Type": "application/octet-stream" },
  body: octets,
});
const { blobId } = await uploaded.json();
const written = await client.email_set({
  accountId,
  create: {
    note: {
      mailboxIds: { [byRole.drafts.id]: true },
      from: [{ email: identities[0].email }],
      to: [{ email: identities[0].email }],
      subject: "Nümbat",
      bodyValues: { 1: { value: "Text." } },
      textBody: [{ partId: "1", type: "text/plain" }],
      attachments: [{ blobId, type: "application/octet-stream", name: "höhle.bin", disposition: "attachment" }],
    },
  },
});
assert.ok(written.created, JSON.stringify(written.notCreated));
const emailId = written.created.note.id;
const identityId = identities[0].id;
const envelope = {
  mailFrom: { email: identities[0].email, parameters: { HOLDFOR: "600" } },
  rcptTo: [{ email: "bob@example.net", parameters: null }],
};
const submitted = await client.emailSubmission_set({
  accountId,
  create: { now: { identityId, emailId }, later: { identityId, emailId, envelope } },
  onSuccessUpdateEmail: {
    "#now": { [`mailboxIds/${byRole.drafts.id}`]: null, [`mailboxIds/${byRole.sent.id}`]: true },
  },
});
const { now, later } = submitted.created;
const undone = await client.emailSubmission_set({ accountId, update: { [later.id]: { undoStatus: "canceled" } } });
assert.ok(later.id in undone.updated, JSON.stringify(undone.notUpdated));
let status;
for (let tries = 0; tries < 200 && status?.delivered !== "yes"; tries += 1) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { list } = await client.emailSubmission_get({ accountId, ids: [now.id] });
  status = list[0].deliveryStatus[identities[0].email];
}
assert.equal(status.delivered, "yes");
const arrived = await client.email_query({
  accountId,
  filter: { operator: "AND", conditions: [{ inMailbox: byRole.inbox.id }, { subject: "nümbat" }] },
});
assert.equal(arrived.ids.length, 1);
const received = await client.email_get({ accountId, ids: arrived.ids, properties: ["attachments"] });
const [attached] = received.list[0].attachments;
assert.deepEqual([attached.name, attached.size], ["höhle.bin", octets.length]);

console.log("walked");
