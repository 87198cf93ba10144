"""Mailbox/set (RFC 8621 §2.5): the rules that the tree of an account's mailboxes keeps.

An account has few mailboxes, so each change is tried on all of them in memory before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stalwart import store
from stalwart.jmap.arguments import SetArguments
from stalwart.jmap.call import Account, Call
from stalwart.jmap.declare import Ahead, Creation, Write
from stalwart.jmap.errors import Conflict, SetError, invalid_properties
from stalwart.jmap.ids import row_of
from stalwart.store import InvalidName, MailboxRow, Store

Tree = Mapping[int, MailboxRow]
_MANY = 200
"""E-mails that are removed in the transaction that destroys their mailbox."""
Outcome = SetError | Mapping[str, object] | None


class MailboxRights(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the user may do with a mailbox (RFC 8621 §2, myRights)."""

    may_read_items: bool = True
    may_add_items: bool = True
    may_remove_items: bool = True
    may_set_seen: bool = True
    may_set_keywords: bool = True
    may_create_child: bool = True
    may_rename: bool = True
    may_delete: bool = True
    may_submit: bool = True


_OWNER = MailboxRights()
_OWNER_OF_INBOX = MailboxRights(may_delete=False)  # mail is delivered there
# Guests read the mail, or also put it in order; the mailboxes and what is sent stay the owner's.
_WRITER = MailboxRights(may_create_child=False, may_rename=False, may_delete=False, may_submit=False)
_READER = MailboxRights(
    may_add_items=False,
    may_remove_items=False,
    may_set_seen=False,
    may_set_keywords=False,
    may_create_child=False,
    may_rename=False,
    may_delete=False,
    may_submit=False,
)


def rights_of(account: Account, row: MailboxRow) -> MailboxRights:
    """The user's rights."""
    if not account.is_personal:
        return _READER if account.is_read_only else _WRITER
    return _OWNER_OF_INBOX if row.role == "inbox" else _OWNER


class MailboxSetArguments(SetArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §2.5."""

    on_destroy_remove_emails: bool = False


def _create(call: Call, creation: Creation, arguments: MailboxSetArguments) -> int:
    values = creation.values
    if not call.account.is_personal:
        raise SetError("forbidden", "Only the owner of the account makes mailboxes.")
    tree = _tree(call)
    if len(tree) >= call.limits.max_mailboxes:
        raise SetError("overQuota", f"An account may have at most {call.limits.max_mailboxes} mailboxes.")
    new = MailboxRow(
        id=0,
        name=_normal(call, values["name"]),
        parent_id=_parent(values["parentId"]),
        role=values["role"],
        sort_order=values["sortOrder"],
        is_subscribed=values["isSubscribed"],
        total_emails=0,
        unread_emails=0,
        total_threads=0,
        unread_threads=0,
        created_modseq=0,
        modseq=0,
        properties_modseq=0,
    )
    _check(call, new, {**tree, new.id: new})
    _check_child_right(call, new, tree)
    return store.create_mailbox(
        call.session,
        call.account.row,
        new.name,
        new.parent_id,
        new.role,
        sort_order=new.sort_order,
        is_subscribed=new.is_subscribed,
        longest_name=call.limits.max_size_mailbox_name,
    ).id


def _update(
    call: Call, row: MailboxRow, changed: Mapping[str, Any], arguments: MailboxSetArguments
) -> Mapping[str, object] | None:
    if not call.account.is_personal:
        _update_of_guest(call, row, changed)
        return None
    tree = _tree(call)
    new = _changed(call, row, changed, tree)
    _check(call, new, {**tree, new.id: new})
    store.update_mailboxes(call.session, call.account.row, [new])
    return _unasked(new, changed)


def _update_of_guest(call: Call, row: MailboxRow, changed: Mapping[str, Any]) -> None:
    if set(changed) != {"isSubscribed"}:
        raise SetError("forbidden", "Only the owner of the account changes its mailboxes.")
    # RFC 8621 §2: stored separately per user
    user, subscribed = call.principal.account_id, changed["isSubscribed"]
    store.set_subscription(call.session, call.account.row, row.id, user, subscribed=subscribed)


def _update_together(
    call: Call, updates: Mapping[int, tuple[MailboxRow, Mapping[str, Any]]], arguments: MailboxSetArguments
) -> Mapping[int, Outcome]:
    tree = dict(_tree(call))
    before = dict(tree)
    outcomes: dict[int, Outcome] = {}
    for number, (row, changed) in updates.items():
        tree[number] = _changed(call, row, changed, before)
        outcomes[number] = _unasked(tree[number], changed)
    settled = False
    while not settled:
        settled = True
        for one, outcome in reversed(list(outcomes.items())):
            if isinstance(outcome, SetError):
                continue
            try:
                _check(call, tree[one], tree)
            except SetError as error:
                # As it was, it may now be in the way of others that were all right.
                outcomes[one], tree[one], settled = error, before[one], False
    store.update_mailboxes(
        call.session,
        call.account.row,
        [tree[number] for number, outcome in outcomes.items() if not isinstance(outcome, SetError)],
    )
    return outcomes


def _ahead(call: Call, arguments: MailboxSetArguments) -> Ahead | None:
    """Empty large mailboxes that the call destroys, where nothing can keep them from being destroyed."""
    if not arguments.on_destroy_remove_emails or not call.account.is_personal:
        return None
    if arguments.create or arguments.update or arguments.if_in_state is not None:
        return None
    tree = _tree(call)
    parents = {row.parent_id for row in tree.values()}
    rows = [tree.get(number) for text in arguments.destroy or () if (number := row_of("M", text)) is not None]
    large = [
        row.id
        for row in rows
        if row is not None
        and row.total_emails > _MANY
        and row.id not in parents
        and rights_of(call.account, row).may_delete
    ]
    if not large:
        return None

    def empty(opened: Store) -> None:
        for mailbox_id in large:
            store.empty_mailbox(opened, call.account.row, mailbox_id)

    return empty


def _destroy(call: Call, row: MailboxRow, arguments: MailboxSetArguments) -> None:
    if any(other.parent_id == row.id for other in _tree(call).values()):
        # RFC 8621 §2.5; before anything else, so that no mail is lost for a mailbox that stays
        raise Conflict("mailboxHasChild", "There are mailboxes in it. Destroy these first.")
    if not rights_of(call.account, row).may_delete:
        why = "mail is delivered there" if call.account.is_personal else "it is its owner's"
        raise SetError("forbidden", f"This mailbox can't be destroyed: {why}.")
    if row.total_emails and not arguments.on_destroy_remove_emails:
        raise SetError("mailboxHasEmail", f"There are {row.total_emails} Emails in it.")
    store.destroy_mailbox(call.session, call.account.row, row.id)


def _tree(call: Call) -> Tree:
    return {row.id: row for row in store.list_mailboxes(call.session, call.account.row)}


def _normal(call: Call, name: str) -> str:
    try:
        return store.normal_name(name, call.limits.max_size_mailbox_name)
    except InvalidName as error:
        raise invalid_properties(f"name: {error}.", ["name"]) from None


def _parent(text: str | None) -> int | None:
    if text is None:
        return None
    row = row_of("M", text)
    if row is None:
        raise _no_parent(text)
    return row


def _no_parent(text: str) -> SetError:
    return invalid_properties(f"parentId: there is no mailbox {text[:100]!r}.", ["parentId"])


def _changed(call: Call, row: MailboxRow, changed: Mapping[str, Any], tree: Tree) -> MailboxRow:
    if "role" in changed and row.role == "inbox":
        raise SetError("forbidden", "role: the inbox stays the inbox, since mail is delivered there.")
    if not rights_of(call.account, row).may_rename and ("name" in changed or "parentId" in changed):
        raise SetError("forbidden", "This mailbox can't be renamed or moved.")
    new = msgspec.structs.replace(
        row,
        name=_normal(call, changed["name"]) if "name" in changed else row.name,
        parent_id=_parent(changed["parentId"]) if "parentId" in changed else row.parent_id,
        role=changed.get("role", row.role),
        sort_order=changed.get("sortOrder", row.sort_order),
        is_subscribed=changed.get("isSubscribed", row.is_subscribed),
    )
    if new.parent_id != row.parent_id:
        _check_child_right(call, new, tree)
    return new


def _check_child_right(call: Call, new: MailboxRow, tree: Tree) -> None:
    parent = None if new.parent_id is None else tree.get(new.parent_id)
    if parent is not None and not rights_of(call.account, parent).may_create_child:
        raise SetError("forbidden", "parentId: no mailbox can be made in that one.")


def _unasked(new: MailboxRow, changed: Mapping[str, Any]) -> Mapping[str, object] | None:
    # RFC 8620 §5.3: what changed in a way that was not requested
    return {"name": new.name} if "name" in changed and new.name != changed["name"] else None


def _check(call: Call, new: MailboxRow, tree: Tree) -> None:
    """RFC 8621 §2: what a mailbox must keep to among the others of the tree. Raises Conflict."""
    if new.parent_id is not None and new.parent_id not in tree:
        raise _no_parent(f"M{new.parent_id}")
    above, depth = new.parent_id, 1
    while above is not None:
        depth += 1
        if above == new.id:
            raise _conflict("parentId", "a mailbox can't be inside itself")
        above = tree[above].parent_id if above in tree and depth <= len(tree) else None
    if depth + _height(new.id, tree) > call.limits.max_mailbox_depth:
        raise _conflict("parentId", f"mailboxes can be at most {call.limits.max_mailbox_depth} deep")
    for other in tree.values():
        if other.id == new.id:
            continue
        if other.parent_id == new.parent_id and other.name == new.name:
            raise _conflict("name", "there is a mailbox with this name at this place already")
        if new.role is not None and other.role == new.role:
            raise _conflict("role", f"M{other.id} has this role already")


def _height(row: int, tree: Tree) -> int:
    """How many levels of mailboxes there are in this one."""
    children: dict[int | None, list[int]] = {}
    for other in tree.values():
        children.setdefault(other.parent_id, []).append(other.id)
    level, height = children.get(row, []), 0
    while level and height < len(tree):
        level = [below for one in level for below in children.get(one, [])]
        height += 1
    return height


def _conflict(name: str, description: str) -> Conflict:
    return Conflict("invalidProperties", f"{name}: {description}.", properties=[name])


def _open_to_readers(arguments: MailboxSetArguments) -> bool:
    # RFC 8621 §2: isSubscribed is each user's own, so also that of users who may only read
    return bool(arguments.update) and not arguments.create and not arguments.destroy


WRITE: Write[MailboxRow] = Write(
    arguments=MailboxSetArguments,
    ahead=_ahead,
    create=_create,
    update=_update,
    update_together=_update_together,
    destroy=_destroy,
    open_to_readers=_open_to_readers,
)
