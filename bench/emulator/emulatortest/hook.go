package emulatortest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"rewrap/bench/emulator"
)

// Hook stands before the emulator, see [emulator.Options]. What it can do:
// answer a request, change it, change the answer, lose it, wait, or break the
// connection off. It is called from many goroutines at once.
type Hook = func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)

// Hook replaces the world's hook, also while requests are under way. nil takes
// it away.
func (w *World) Hook(h Hook) {
	if h == nil {
		h = pass
	}
	w.shared.hook.Store(&h)
}

func (w *World) serve(op string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
	(*w.shared.hook.Load())(op, rw, r, next)
}

func pass(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// On is a hook for one operation ("s3:CopyObject"); all others pass.
func On(op string, h Hook) Hook {
	return func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got == op {
			h(op, w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// Both is two hooks, one behind the other.
func Both(first, second Hook) Hook {
	return func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		first(op, w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { second(op, w, r, next) }))
	}
}

// Fails is an endpoint that answers an operation with an error.
func Fails(op string, status int, code string) Hook {
	return On(op, func(_ string, w http.ResponseWriter, r *http.Request, _ http.Handler) {
		emulator.Fail(w, r, status, code, "made up")
	})
}

// Ignores is an endpoint that does not look at some headers of an operation.
func Ignores(op string, headers ...string) Hook {
	return On(op, func(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, h := range headers {
			r.Header.Del(h)
		}
		next.ServeHTTP(w, r)
	})
}

// Object is a request to KMS or its answer.
type Object = map[string]any

// JSON is a hook on all operations of KMS. before sees the request; it may
// change it, or answer it with the code of an error. after sees a good answer
// with its request, and may change it. Either may be nil.
func JSON(before func(op string, in Object) (code string), after func(op string, in, out Object)) Hook {
	return func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasPrefix(op, "kms:") {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // in memory already
		var in Object
		_ = json.Unmarshal(body, &in) // the emulator says what is wrong with it
		if before != nil {
			if code := before(op, in); code != "" {
				status := http.StatusBadRequest
				if code == "KMSInternalException" {
					status = http.StatusInternalServerError
				}
				emulator.Fail(w, r, status, code, "made up")
				return
			}
			body, _ = json.Marshal(in)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if after == nil {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		answer := rec.Body.Bytes()
		if rec.Code == http.StatusOK {
			var out Object
			_ = json.Unmarshal(answer, &out)
			after(op, in, out)
			answer, _ = json.Marshal(out)
		}
		for name, v := range rec.Header() {
			if name != "Content-Length" {
				w.Header()[name] = v
			}
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(answer) // a client that has gone away is not told
	}
}
