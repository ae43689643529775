// Package checkpoint is the durable state of a run: how far it is, what it
// still owes, and how to undo what it did.
//
// One directory holds one job. A process that has it [Open] calls, for each
// item, [Journal.Append] before it changes the item, and [State.Audit] or
// [State.Owe] when the item has ended; and several times a second [State.Cut]
// together with a [Snapshot] of its counts and watermarks, and
// [State.Commit]. After a kill, a power loss or a full disk at any moment the
// next Open finds the last snapshot that was committed, exactly the lines
// that belong to it, and every journal entry whose Append has returned.
//
// The items themselves are the truth about what was done; the state only says
// where to look. So what is lost here is never an item's data:
//
//	file             what it holds                      what its loss costs; what Open does
//	lock             who has the directory open         nothing
//	checkpoint.json  counts, watermarks                 the pass begins again at the first item. Missing:
//	                                                    it does, with a warning. Damaged: refused, but for
//	                                                    Options.Restart
//	journal          how to take back every change      undo. Begun anew, with a warning
//	audit.jsonl      a line per wrapped key changed     request ids and hashes, for auditors. Kept up to
//	                                                    its last whole line, with a warning
//	failures.jsonl   a line per item that is owed       the list of what to try again. Refused, but for
//	                                                    a new pass, which looks at every item again
//	failures.N.jsonl the same of an earlier session     the same
//	journal.damaged-N, checkpoint.json.damaged-N        damaged ones that were set aside; never read,
//	                                                    written or removed again
//	attestation.json, findings.jsonl, summary.json      written by callers, for people
//
// What was lost and gone on without is in [State.Warnings]. The N of a
// journal that was set aside is the session that did so, or the next number
// that is free. Its frames are as good as they were, but no offset in the
// snapshot or in failures.N.jsonl means one of them any more
// (Snapshot.JournalBegan).
//
// The directory is made with mode 0700 and the files with 0600, since they
// name items, keys and encryption contexts.
//
// # Passes and sessions
//
// A pass looks at every item once. A session is the time that one process has
// the directory open; a pass takes as many as it is interrupted or leaves
// something owed. Open goes on with the last pass, unless that is over.
// Lines of failures.jsonl belong to the session that is open. The next one
// renames the file to failures.N.jsonl, N being its own number, and tries
// those items again ([State.Owed]) while it fills a new failures.jsonl.
//
// # checkpoint.json
//
// A JSON object: "format" (1), "snapshot" (a [Snapshot]) and "crc32c", the
// checksum of the bytes of "snapshot" in hex. It is replaced as a whole: a
// temporary file is written and synced, renamed, and the directory synced.
// Temporary files are called .tmp-NAME-RANDOM, are never read, and are
// removed by the next Open.
//
// # journal
//
// A header of 16 bytes, then frames, each an [Entry]. Numbers are big-endian.
//
//	+-----------------------------------+---------+
//	| "rewrap journal\n" (15 bytes)     | version |
//	+-----------------------------------+---------+
//	+---+----------------+--------------------+-------------------+
//	| S | length (31 bit)| CRC-32C (32 bit)   | payload: JSON     |
//	+---+----------------+--------------------+-------------------+
//
// The checksum (Castagnoli) covers the four bytes of S and length, and the
// payload. Frames are written in groups, each with one sync (group commit). S is set on the first frame of a group and says that
// everything before it was durable when it was written. That tells a torn end
// from damage: bytes that are no frame are what an interrupted write has left,
// and are cut off by Open, unless an intact frame with S stands behind them;
// then they were durable once, and Open sets the journal aside uncut.
// Frames that an earlier snapshot knew as durable (Snapshot.JournalLen) are
// never cut; damage among them shows when they are read.
//
// # audit.jsonl, failures.jsonl, failures.N.jsonl
//
// JSON lines: [AuditLine] and [Owed]. Only what a snapshot counts
// (Snapshot.AuditLen, Snapshot.FailuresLen) is part of the state. Open cuts
// off the rest: it is of items beyond the watermarks, which are done again.
// Reading them while a run goes on is safe, but for the last line.
package checkpoint
