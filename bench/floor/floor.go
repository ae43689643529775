// Package floor is the lower bound that benchmarks compare local re-wrapping
// with: AES-256-GCM of the standard library, which opens and seals a 32-byte
// key with a fresh random nonce in a bare loop.
package floor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
)

// Loop makes two keys and a data key that the first one wraps. Each call of
// the function that it returns gives one goroutine a step of its own. A step
// opens the data key and seals it under the second key. With proof it opens
// the result again, as every run does. Loop panics if the standard library's
// cipher does not work.
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
