"""Mailbox/set (RFC 8621 §2.5) and through it the standard method /set (RFC 8620 §5.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from stalwart.jmap.limits import Limits
from tests.jmap.bed import Bed, message

_PROPERTIES = (
    "id",
    "name",
    "parentId",
    "role",
    "sortOrder",
    "totalEmails",
    "unreadEmails",
    "totalThreads",
    "unreadThreads",
    "myRights",
    "isSubscribed",
)


def commits_of(noted: list[int]) -> Callable[[Mapping[int, Mapping[str, int]]], None]:
    """Notes each commit that changed something."""
    return lambda moved: noted.append(len(moved))


class MailboxSetCase(Bed):
    """A test that sets mailboxes."""

    def set(self, **arguments: Any) -> Any:
        """The response of one Mailbox/set."""
        return self.call("Mailbox/set", **arguments)

    def create(self, **mailboxes: dict[str, Any]) -> dict[str, str]:
        """Create mailboxes, all of which must succeed; gives their ids by creation id."""
        response = self.set(create=mailboxes)
        self.assertIsNone(response["notCreated"])
        return {key: created["id"] for key, created in response["created"].items()}

    def mailbox(self, mailbox: str) -> Any:
        """A mailbox as it is."""
        return self.call("Mailbox/get", ids=[mailbox])["list"][0]

    def names(self, *mailboxes: str) -> list[str]:
        """The names that these have now."""
        return [self.mailbox(one)["name"] for one in mailboxes]


class CreateTests(MailboxSetCase):
    """New mailboxes."""

    def test_created(self) -> None:
        """RFC 8620 §5.3: the response holds what the server set and what was set to a default, and nothing else."""
        response = self.set(create={"k": {"name": "Work", "sortOrder": 3}})
        created = response["created"]["k"]
        self.assertEqual(set(created), set(_PROPERTIES) - {"name", "sortOrder"})
        self.assertEqual((created["isSubscribed"], created["parentId"]), (True, None))
        for name in ("updated", "destroyed", "notCreated", "notUpdated", "notDestroyed"):
            self.assertIsNone(response[name], name)
        self.assertNotEqual(response["oldState"], response["newState"])
        self.assertEqual(self.call("Mailbox/get", ids=[])["state"], response["newState"])

    def test_child_before_parent(self) -> None:
        """RFC 8620 §5.3: creates are ordered so that those that are referred to come first."""
        made = self.create(
            c={"name": "c", "parentId": "#b"}, b={"name": "b", "parentId": "#a"}, a={"name": "a", "parentId": None}
        )
        self.assertEqual(self.mailbox(made["c"])["parentId"], made["b"])
        self.assertEqual(self.mailbox(made["b"])["parentId"], made["a"])

    def test_circle(self) -> None:
        """Records that refer to each other in a circle are refused, and nothing hangs."""
        response = self.set(create={"a": {"name": "a", "parentId": "#b"}, "b": {"name": "b", "parentId": "#a"}})
        self.assertIsNone(response["created"])
        self.assertEqual({error["type"] for error in response["notCreated"].values()}, {"invalidProperties"})
        self.assertEqual(response["oldState"], response["newState"])

    def test_swapped_names(self) -> None:
        """RFC 8620 §5.3: two records may swap what must be unique, when the final state is valid."""
        made = self.create(a={"name": "A"}, b={"name": "B"}, c={"name": "C"})
        response = self.set(
            update={made["a"]: {"name": "B"}, made["b"]: {"name": "A"}, made["c"]: {"name": "Inbox"}},
        )
        self.assertEqual(sorted(response["updated"]), sorted([made["a"], made["b"]]))
        self.assertEqual(response["notUpdated"][made["c"]]["properties"], ["name"])
        self.assertEqual(self.names(made["a"], made["b"], made["c"]), ["B", "A", "C"])

    def test_updates_below_what_is_destroyed(self) -> None:
        """RFC 8620 §5.3: updates that wait for others are refused in any order when their place is gone by then."""
        for names in (("x", "y", "z"), ("x", "z", "y")):
            made = self.create(**{name: {"name": name} for name in names})
            updates = {
                "y": {"parentId": made["x"], "role": "trash"},
                "z": {"parentId": made["y"], "role": "junk"},
            }
            response = self.set(update={made[name]: updates[name] for name in names[1:]}, destroy=[made["x"]])
            self.assertEqual(response["destroyed"], [made["x"]])
            self.assertEqual(response["notUpdated"][made["y"]]["properties"], ["parentId"])
            self.assertEqual(response["notUpdated"][made["z"]]["properties"], ["role"])
            self.set(destroy=[made["y"], made["z"]])

    def test_destroyed_with_emails(self) -> None:
        """RFC 8621 §2.5: with onDestroyRemoveEmails those that are nowhere else are destroyed with it."""
        work = self.make_mailbox("Work")
        only, both = self.deliver(message("a"), work), self.deliver(message("b"), work, "inbox")
        response = self.set(destroy=[work])
        self.assertEqual(response["notDestroyed"][work]["type"], "mailboxHasEmail")
        response = self.set(destroy=[work], onDestroyRemoveEmails=True)
        self.assertEqual(response["destroyed"], [work])
        self.assertEqual(self.call("Email/get", ids=[only, both], properties=["id"])["notFound"], [only])
        self.assertEqual(self.email(both, "mailboxIds")["mailboxIds"], {self.inbox: True})

    def test_destroyed_with_many(self) -> None:
        """A large mailbox is emptied in short transactions, so that deliveries don't wait; what the client sees is one
        destruction. What might keep the mailbox from being destroyed keeps all of its mail."""
        for only_asked in (True, False):
            work = self.make_mailbox("Work")
            both = self.deliver(message("b"), work, "inbox")
            only = [self.deliver(message(f"{number}"), work) for number in range(250)]
            commits: list[int] = []
            self.store.subscribe(commits_of(commits))
            update = None if only_asked else {self.inbox: {"sortOrder": 7}}
            response = self.set(destroy=[work], onDestroyRemoveEmails=True, update=update)
            self.assertEqual(response["destroyed"], [work])
            self.assertEqual(len(commits), 4 if only_asked else 1)
            self.assertEqual(len(self.call("Email/get", ids=only, properties=["id"])["notFound"]), 250)
            self.assertEqual(self.email(both, "mailboxIds")["mailboxIds"], {self.inbox: True})


class RoleTests(MailboxSetCase):
    """What mailboxes are for."""

    def test_another_trash(self) -> None:
        """RFC 8621 §2, unreadThreads: what lies only in the trash counts there alone, also when the trash changes."""
        old, new, work = self.mailboxes["trash"], self.make_mailbox("New"), self.make_mailbox("Work")
        first = self.deliver(message("a", Message_ID="<a@x>"), old)
        self.deliver(message("Re: a", Message_ID="<b@x>", References="<a@x>"), work, keywords=("$seen",))
        self.deliver(message("b"), new)
        unread = lambda: [self.mailbox(one)["unreadThreads"] for one in (old, work, new)]  # noqa: E731
        self.assertEqual(unread(), [1, 0, 1])
        response = self.set(update={old: {"role": None}, new: {"role": "trash"}})
        self.assertIsNone(response["notUpdated"])
        self.assertEqual(unread(), [1, 1, 1])
        self.call("Email/set", update={first: {"mailboxIds": {new: True}}})
        self.assertEqual(unread(), [0, 0, 2])
        self.set(update={new: {"role": None}})
        self.assertEqual(unread(), [0, 1, 2])

    def test_swapped_roles(self) -> None:
        """Roles can be swapped like names."""
        junk, trash = self.mailboxes["junk"], self.mailboxes["trash"]
        self.deliver(message("a"), trash)
        response = self.set(update={junk: {"role": "trash"}, trash: {"role": "junk"}})
        self.assertIsNone(response["notUpdated"])
        self.assertEqual((self.mailbox(junk)["role"], self.mailbox(trash)["role"]), ("trash", "junk"))

    def test_refused(self) -> None:
        """RFC 8621 §2: a role is one of the registry, and no two mailboxes have the same; the inbox stays it."""
        response = self.set(create={"a": {"name": "a", "role": "trash"}, "b": {"name": "b", "role": "Lost"}})
        for one in ("a", "b"):
            self.assertEqual(response["notCreated"][one]["type"], "invalidProperties")
            self.assertEqual(response["notCreated"][one]["properties"], ["role"])
        response = self.set(update={self.inbox: {"role": None}}, destroy=[self.mailboxes["junk"]])
        self.assertEqual(response["notUpdated"][self.inbox]["type"], "forbidden")
        self.assertEqual(response["destroyed"], [self.mailboxes["junk"]])


class UpdateTests(MailboxSetCase):
    """Changed mailboxes."""

    def test_long_wrong_values(self) -> None:
        """RFC 8620 §5.3: values of any length and content are refused in no time, by the name of their property."""
        started = time.thread_time()
        for name, value in (("role", " - at `$" * 16_000), ("name", "a" + "\u0315" * 20_000 + "\u0300" * 20_000)):
            response = self.set(update={self.mailboxes["junk"]: {name: value}})
            self.assertEqual(response["notUpdated"][self.mailboxes["junk"]]["properties"], [name])
        self.assertLess(time.thread_time() - started, 3.0)

    def test_nothing_changes(self) -> None:
        """RFC 8620 §5.3: an update that changes nothing succeeds, also with a whole object, and moves no state."""
        whole = self.mailbox(self.inbox)
        response = self.set(update={self.inbox: whole, self.mailboxes["junk"]: {}})
        self.assertEqual(response["updated"], {self.inbox: None, self.mailboxes["junk"]: None})
        self.assertEqual(response["oldState"], response["newState"])

    def test_server_set(self) -> None:
        """RFC 8620 §5.3: what the server sets may be sent if it is the same, and all that is wrong is listed."""
        patch = {"id": "M999", "totalEmails": 7, "unreadEmails": 0, "myRights/mayDelete": True, "lost": 1}
        error = self.set(update={self.inbox: patch})["notUpdated"][self.inbox]
        self.assertEqual(error["type"], "invalidProperties")
        self.assertEqual(sorted(error["properties"]), ["id", "lost", "myRights", "totalEmails"])
        error = self.set(create={"k": {"name": "x", "id": "M1", "lost": 1, "sortOrder": -1}})["notCreated"]["k"]
        self.assertEqual(sorted(error["properties"]), ["id", "lost", "sortOrder"])

    def test_null_restores_the_default(self) -> None:
        """RFC 8620 §5.3: null sets to the default value, and is refused where there is none."""
        made = self.create(k={"name": "k", "sortOrder": 7, "isSubscribed": False, "parentId": self.inbox})["k"]
        patch = {"sortOrder": None, "isSubscribed": None, "parentId": None, "role": None}
        self.assertEqual(self.set(update={made: patch})["updated"], {made: None})
        after = self.mailbox(made)
        self.assertEqual((after["sortOrder"], after["isSubscribed"], after["parentId"]), (0, True, None))
        error = self.set(update={made: {"name": None}})["notUpdated"][made]
        self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["name"]))

    def test_names(self) -> None:
        """RFC 8621 §2: names are kept in NFC, and the client is told; siblings have different ones."""
        made = self.create(a={"name": "e\u0301"})["a"]
        self.assertEqual(self.mailbox(made)["name"], "\u00e9")
        self.assertEqual(self.set(update={made: {"name": "o\u0301"}})["updated"], {made: {"name": "\u00f3"}})
        for name in ("", "a\nb", "x" * 256, "Inbox"):
            error = self.set(create={"k": {"name": name}})["notCreated"]["k"]
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["name"]), name)
        self.create(same={"name": "Inbox", "parentId": self.inbox})

    def test_loops_and_depth(self) -> None:
        """RFC 8621 §2: no mailbox is inside itself, nor deeper than maxMailboxDepth, also by moving a whole tree."""
        chain = {f"k{n}": {"name": "n", "parentId": f"#k{n - 1}" if n else None} for n in range(9, -1, -1)}
        made = self.create(**chain)
        self.assertEqual(
            self.set(create={"k": {"name": "n", "parentId": made["k9"]}})["notCreated"]["k"]["properties"],
            ["parentId"],
        )
        for parent in ("k0", "k5"):
            error = self.set(update={made["k0"]: {"parentId": made[parent]}})["notUpdated"][made["k0"]]
            self.assertEqual(error["properties"], ["parentId"])
        error = self.set(
            update={made["k5"]: {"parentId": made["k4"]}, made["k1"]: {"parentId": self.inbox, "name": "m"}}
        )
        self.assertIsNone(error["notUpdated"])
        error = self.set(update={made["k0"]: {"parentId": self.inbox}, made["k1"]: {"parentId": made["k0"]}})
        self.assertEqual(list(error["notUpdated"]), [made["k1"]])
        # Turned round: each is the other's child when all is done.
        made = self.create(p={"name": "p"}, q={"name": "q", "parentId": "#p"})
        response = self.set(update={made["p"]: {"parentId": made["q"]}, made["q"]: {"parentId": None}})
        self.assertIsNone(response["notUpdated"])

    def test_no_such_parent(self) -> None:
        """A parent that doesn't exist, or a creation id that nothing was created under, is no parent."""
        for parent in ("M999", "#lost", "E1", ""):
            error = self.set(create={"k": {"name": "x", "parentId": parent}})["notCreated"]["k"]
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["parentId"]), parent)

    def test_not_found(self) -> None:
        """RFC 8620 §5.3: an id that can't be found, of whatever form, is notFound."""
        response = self.set(update={"M999": {"name": "x"}, "?": {}}, destroy=["M998", "#k", "M998"])
        self.assertEqual({one["type"] for one in response["notUpdated"].values()}, {"notFound"})
        self.assertEqual(set(response["notDestroyed"]), {"M998", "#k"})
        self.assertEqual({one["type"] for one in response["notDestroyed"].values()}, {"notFound"})


class OneCallTests(MailboxSetCase):
    """Records of one call that have to do with each other."""

    def test_created_ids_everywhere(self) -> None:
        """RFC 8620 §5.3: creation ids stand for ids as values, and as what is to be updated and destroyed."""
        response = self.set(
            create={"a": {"name": "a"}, "b": {"name": "b"}},
            update={"#a": {"sortOrder": 5, "parentId": "#b"}, self.mailboxes["junk"]: {"parentId": "#a"}},
        )
        made = {key: one["id"] for key, one in response["created"].items()}
        self.assertEqual(set(response["updated"]), {made["a"], self.mailboxes["junk"]})
        self.assertEqual(self.mailbox(made["a"])["parentId"], made["b"])
        response = self.set(create={"c": {"name": "c"}}, destroy=["#c"])
        self.assertEqual(response["destroyed"], [response["created"]["c"]["id"]])

    def test_place_of_a_renamed_or_destroyed_one(self) -> None:
        """RFC 8620 §5.3: the final state counts, in whatever order the records are given."""
        made = self.create(a={"name": "A"}, b={"name": "B"})
        response = self.set(
            create={"k": {"name": "A"}, "l": {"name": "B", "sortOrder": 1}, "m": {"name": "m", "parentId": "#k"}},
            update={made["a"]: {"name": "C", "parentId": "#l"}},
            destroy=[made["b"]],
        )
        for name in ("notCreated", "notUpdated", "notDestroyed"):
            self.assertIsNone(response[name])
        self.assertEqual(self.mailbox(made["a"])["parentId"], response["created"]["l"]["id"])

    def test_parent_and_child_destroyed(self) -> None:
        """RFC 8621 §2.5: a mailbox with children stays, unless they are destroyed in the same call."""
        made = self.create(**{f"k{n}": {"name": "n", "parentId": f"#k{n - 1}" if n else None} for n in range(10)})
        response = self.set(destroy=[made[f"k{n}"] for n in range(9)])
        self.assertEqual({one["type"] for one in response["notDestroyed"].values()}, {"mailboxHasChild"})
        self.assertIsNone(response["destroyed"])
        response = self.set(destroy=[made[f"k{n}"] for n in (3, 1, 0, 2, 4, 9, 8, 7, 5, 6)])
        self.assertEqual(set(response["destroyed"]), set(made.values()))

    def test_child_wins(self) -> None:
        """A mailbox that stays for its children keeps its mail, whatever onDestroyRemoveEmails says."""
        made = self.create(a={"name": "a"}, b={"name": "b", "parentId": "#a"})
        email = self.deliver(message(), made["a"])
        response = self.set(destroy=[made["a"]], onDestroyRemoveEmails=True)
        self.assertEqual(response["notDestroyed"][made["a"]]["type"], "mailboxHasChild")
        self.assertEqual(self.email(email, "mailboxIds")["mailboxIds"], {made["a"]: True})

    def test_will_be_destroyed(self) -> None:
        """RFC 8620 §5.3: an update of what the same call destroys is left out."""
        made = self.create(a={"name": "a"})["a"]
        response = self.set(update={made: {"name": "b"}}, destroy=[made])
        self.assertEqual(response["notUpdated"][made]["type"], "willDestroy")
        self.assertEqual(response["destroyed"], [made])

    def test_state_mismatch(self) -> None:
        """RFC 8620 §5.3: with ifInState nothing is done in another state."""
        state = self.call("Mailbox/get", ids=[])["state"]
        self.create(a={"name": "a"})
        self.assertEqual(
            self.refused("Mailbox/set", ifInState=state, create={"b": {"name": "b"}})["type"], "stateMismatch"
        )
        state = self.call("Mailbox/get", ids=[])["state"]
        self.assertEqual(self.set(ifInState=state)["newState"], state)

    def test_too_many(self) -> None:
        """RFC 8620 §5.3: creates, updates and destroys are counted together."""
        most = self.limits.max_objects_in_set
        error = self.refused(
            "Mailbox/set",
            create={f"k{n}": {} for n in range(most - 2)},
            update={"M1": {}},
            destroy=["M2", "M3"],
        )
        self.assertEqual(error["type"], "requestTooLarge")

    def test_failed_creation_leaves_nothing(self) -> None:
        """A record that depends on one that failed, fails; and the ids of what was undone are forgotten."""
        response = self.set(create={"a": {"name": ""}, "b": {"name": "b", "parentId": "#a"}})
        self.assertEqual(set(response["notCreated"]), {"a", "b"})
        self.assertEqual(response["notCreated"]["b"]["properties"], ["parentId"])


class QuotaTests(MailboxSetCase):
    """How many there may be."""

    limits = Limits(max_mailboxes=7, max_size_mailbox_name=300)

    def test_over_quota(self) -> None:
        """RFC 8620 §5.3: one more than the account may have is overQuota."""
        response = self.set(create={"a": {"name": "a"}, "b": {"name": "b"}})
        self.assertEqual(set(response["created"]), {"a"})
        self.assertEqual(response["notCreated"]["b"]["type"], "overQuota")

    def test_long_names(self) -> None:
        """RFC 8621 §1.3.1: a name may be as long as maxSizeMailboxName says, in octets of UTF-8."""
        made = self.create(a={"name": "é" * 150})["a"]
        self.assertIsNone(self.set(update={made: {"name": "x" * 300}})["notUpdated"])
        self.assertEqual(self.set(update={made: {"name": "é" * 151}})["notUpdated"][made]["properties"], ["name"])
