package emulatortest

import "strings"

// HookKMS sets the same hook of the KMS in each of some Regions, also while
// requests are under way. before may answer in the service's stead, with an error
// code. after may change the answer. Both may be nil, and get the name of the
// operation without "kms:".
func (w *World) HookKMS(regions []string, before func(region, op string, in Object) (code string), after func(region, op string, in, out Object)) {
	for _, region := range regions {
		var ask func(string, Object) string
		var answer func(string, Object, Object)
		if before != nil {
			ask = func(op string, in Object) string { return before(region, strings.TrimPrefix(op, "kms:"), in) }
		}
		if after != nil {
			answer = func(op string, in, out Object) { after(region, strings.TrimPrefix(op, "kms:"), in, out) }
		}
		w.In(region).Hook(JSON(ask, answer))
	}
}

// CallsKMS is how many requests of an operation of KMS arrived in some Regions
// since it was last asked.
func (w *World) CallsKMS(regions []string, op string) (n int) {
	for _, region := range regions {
		n += w.In(region).Calls("kms:" + op)
	}
	return n
}
