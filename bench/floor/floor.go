// Package floor is what local re-wrapping cannot do without, for benchmarks to
// be held against: the standard library's AES-256-GCM, open and seal of a
// 32-byte key with a fresh random nonce, in a bare loop.
package floor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
)

// Loop makes two keys, and a data key wrapped by the first. Each call of it
// gives one goroutine its own step, which opens that and seals it by the second;
// with proof it opens the outcome again, as no run does without. It panics where
// the standard library's cipher does not work.
func Loop(proof bool) func() (step func()) {
	from, to := aead(), aead()
	nonce := make([]byte, from.NonceSize())
	blob := from.Seal(nil, nonce, make([]byte, 32), nil)
	return func() func() {
		plain, again, out, fresh := make([]byte, 0, 32), make([]byte, 0, 32), make([]byte, 0, len(blob)), make([]byte, len(nonce))
		return func() {
			opened, err := from.Open(plain, nonce, blob, nil)
			if err != nil {
				panic(err)
			}
			_, _ = rand.Read(fresh)
			out = to.Seal(out[:0], fresh, opened, nil)
			if !proof {
				return
			}
			if _, err := to.Open(again, fresh, out, nil); err != nil {
				panic(err)
			}
		}
	}
}

func aead() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err == nil {
		var g cipher.AEAD
		if g, err = cipher.NewGCM(block); err == nil {
			return g
		}
	}
	panic(fmt.Sprintf("AES-256-GCM: %v", err))
}
