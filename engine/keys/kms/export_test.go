package kms

import "rewrap/engine/envelope"

// Waiting is how many callers wait for the answer about a wrapped key.
func (k *KMS) Waiting(w envelope.WrappedKey) int {
	k.flights.mu.Lock()
	defer k.flights.mu.Unlock()
	if f := k.flights.m[digestOf(w)]; f != nil {
		return f.riders
	}
	return 0
}
