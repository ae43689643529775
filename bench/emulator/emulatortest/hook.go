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

// Hook stands before the emulator; see [emulator.Options]. It may answer a
// request, change it, change or lose its answer, wait, or break off the
// connection. Many goroutines call it at once.
type Hook = func(op string, w http.ResponseWriter, r *http.Request, next http.Handler)

// Hook replaces the world's hook, even while requests are under way. nil
// removes it.
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

// On is a hook for one operation ("s3:CopyObject"). All others pass.
func On(op string, h Hook) Hook {
	return func(got string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got == op {
			h(op, w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// Both is two hooks. The second one stands between the first and the emulator.
func Both(first, second Hook) Hook {
	return func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		first(op, w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { second(op, w, r, next) }))
	}
}

// Fails is a hook that answers an operation with an error.
func Fails(op string, status int, code string) Hook {
	return On(op, func(_ string, w http.ResponseWriter, r *http.Request, _ http.Handler) {
		emulator.Fail(w, r, status, code, "made up")
	})
}

// Ignores is a hook that removes headers from the requests of an operation, as
// an endpoint does that does not know them.
func Ignores(op string, headers ...string) Hook {
	return On(op, func(_ string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, h := range headers {
			r.Header.Del(h)
		}
		next.ServeHTTP(w, r)
	})
}

// Object is a request to KMS, or its answer, in JSON.
type Object = map[string]any

// JSON is a hook on all operations of KMS. before gets the request; it may
// change it, or return the code of an error that answers it. after gets a
// request and its successful answer, and may change the answer. Either may be
// nil.
func JSON(before func(op string, in Object) (code string), after func(op string, in, out Object)) Hook {
	return func(op string, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasPrefix(op, "kms:") {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // cannot fail: the emulator has read it
		var in Object
		_ = json.Unmarshal(body, &in) // the emulator answers a bad document
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
		_, _ = w.Write(answer) // fails only if the client has gone away
	}
}
