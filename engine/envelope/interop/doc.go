// Package interop holds the formats against the clients that write and read
// them. It is a module of its own, so that those clients, one of them an end
// of life SDK, are no dependency of rewrap.
//
// The tests run the clients, and the rewrap binary itself, against the
// project's emulator of S3 and KMS on a loopback port. INTEROP_OBJECTS is how
// many objects the largest of them works on (5000), INTEROP_FILES how many
// files of one wrapped key each (1000, half of them by tink-go and half by KMS)
// and INTEROP_LINES how many wrapped keys in JSON lines (10000; a tenth of them
// by KMS, which is asked at least five times about each: to write it, in three
// passes, to read it). INTEROP_SEED repeats one with the seed that it logged, but
// not the moments at which processes meet.
//
//	INTEROP_FILES=100000 INTEROP_LINES=2000000 go test -v -run TestKilledFiles -timeout 2h
package interop
