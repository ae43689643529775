// Package checkpoint is the durable state of a run: how far it is, which items
// it still owes, and how to undo its edits.
//
// One directory holds one job. The process that has it [Open] calls
// [Journal.Append] before it changes an item, and [State.Audit] or [State.Owe]
// when the item has ended. Several times a second it calls [State.Cut], takes a
// [Snapshot] of its counts and watermarks at the same moment, and hands both to
// [State.Commit]. After a kill, a power loss or a full disk at any moment, the
// next Open finds the last snapshot that was committed, exactly the lines that
// belong to it, and every journal entry whose Append has returned.
//
// The items are the truth about what was done; the state only says where to
// look. So a loss here never costs an item's data:
//
//	file             what it holds                      what its loss costs; what Open does
//	lock             who has the directory open         nothing
//	checkpoint.json  counts, watermarks                 the pass begins again at the first item. Missing:
//	                                                    Open does so, with a warning. Damaged: Open refuses,
//	                                                    except with Options.Restart
//	journal          how to undo every edit             undo. A new one is begun, with a warning
//	audit.jsonl      a line per wrapped key changed     request ids and hashes, for auditors. Kept up to
//	                                                    its last whole line, with a warning
//	failures.jsonl   a line per item that is owed       the list of items to try again. Open refuses, except
//	                                                    for a new pass, which looks at every item again
//	failures.N.jsonl the same of an earlier session     the same
//	journal.damaged-N, checkpoint.json.damaged-N        damaged files that were set aside; never read,
//	                                                    written or removed again
//	attestation.json, findings.jsonl, summary.json      written by callers, for people
//
// [State.Warnings] lists the losses that Open went on without. The N of a
// journal that was set aside is the session that did so, or the next number
// that is free. Its intact frames can still be read, but no offset in the
// snapshot or in failures.N.jsonl refers to them any more
// (FileState.JournalBegan).
//
// The directory is made with mode 0700 and the files with 0600, since they
// name items, keys and encryption contexts.
//
// # Passes and sessions
//
// A pass looks at every item once. A session is the time for which one process
// has the directory open. A pass takes several sessions if it is interrupted or
// if items stay owed. Open goes on with the last pass, unless that is over.
// The lines of failures.jsonl belong to the session that is open. The next
// session renames the file to failures.N.jsonl, where N is its own number, and
// tries those items again ([State.Owed]) while it fills a new failures.jsonl.
//
// # checkpoint.json
//
// A JSON object: "format" (1), "snapshot" (a [Snapshot]) and "crc32c", the
// checksum of the bytes of "snapshot" in hex. The file is replaced as a whole
// (package durable). Temporary files are called .tmp-NAME-RANDOM; they are never
// read, and the next Open removes them.
//
// Fields are added to the snapshot and to the records below without a new
// format if a program that does not know them may leave them out.
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
// payload. Frames are written in groups, with one sync for each group (group
// commit). S is set on the first frame of a group and says that everything
// before that frame was durable when it was written.
//
// S tells a torn end from damage. Bytes that are no frame were usually left by a
// write that was interrupted, and Open cuts them off. But if an intact frame
// with S stands behind them, they were durable once and were damaged since; then
// Open sets the journal aside uncut. Frames that an earlier snapshot knew as
// durable (FileState.JournalLen) are never cut; damage among them shows when
// they are read.
//
// # audit.jsonl, failures.jsonl, failures.N.jsonl
//
// JSON lines: [AuditLine] and [Owed]. Only the lines within the lengths of the
// snapshot (FileState.AuditLen, FileState.FailuresLen) are part of the state.
// Open cuts off the others: their items are beyond the watermarks and are done
// again. The files can be read while a run goes on; the last line may be cut
// short then.
package checkpoint
