// Package interop holds the formats against the clients that write and read
// them. It is a module of its own, so that those clients, one of them an end
// of life SDK, are no dependency of rewrap.
//
// The tests run the clients, and the rewrap binary itself, against the
// project's emulator of S3 and KMS on a loopback port. INTEROP_OBJECTS is how
// many objects the largest of them works on (5000), INTEROP_SEED repeats one
// with the seed that it logged.
package interop
