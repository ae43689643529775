package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"rewrap/bench/emulator"
	"rewrap/bench/floor"
)

// BenchmarkRun is the whole program on a bucket of small objects behind the
// emulator, over HTTP on loopback, with checkpoint, journal and audit as they
// are by default: items per second, and the peak of the program's memory.
// Every wrapped key is different, and one of ten is damaged.
//
// REWRAP_BENCH_ITEMS names other numbers of items, for example
// "10000 1000000"; a run with a million takes some minutes.
func BenchmarkRun(b *testing.B) {
	sizes := "20000"
	if s := os.Getenv("REWRAP_BENCH_ITEMS"); s != "" {
		sizes = s
	}
	for _, size := range strings.Fields(sizes) {
		n, err := strconv.Atoi(size)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("items="+size, func(b *testing.B) {
			w := newWorld(b, emulator.Options{})
			arn := w.Key("alias/a")
			w.stuff(arn, n)
			w.Rotate(arn)
			var items, seconds, rss float64
			for i := range b.N {
				cmd := w.command(b.Context(), "run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "max",
					"--progress", "none", "--state", fmt.Sprint("state", i))
				if i > 0 {
					w.Rotate(arn)
				}
				began := time.Now()
				wait := w.start(cmd)
				peak := watchPeak(cmd.Process.Pid)
				s := wait().want(b, exitRemaining, "").summary(b)
				seconds += time.Since(began).Seconds()
				if s.Items.Rewrapped != int64(n-n/10) || s.Items.Failed != int64(n/10) {
					b.Fatalf("%+v", s)
				}
				items += float64(n)
				rss = max(rss, <-peak)
			}
			b.ReportMetric(items/seconds, "items/s")
			b.ReportMetric(rss, "peak-rss-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRunLocal is the whole program on JSON lines and a keyring, with
// checkpoint, journal and audit as they are by default, beside the floor.
// Every wrapped key is different, in files of 50,000.
//
// REWRAP_BENCH_LINES names other numbers of lines.
func BenchmarkRunLocal(b *testing.B) {
	sizes := "200000"
	if s := os.Getenv("REWRAP_BENCH_LINES"); s != "" {
		sizes = s
	}
	for _, size := range strings.Fields(sizes) {
		n, err := strconv.Atoi(size)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("lines="+size, func(b *testing.B) {
			w := newWorld(b, emulator.Options{})
			w.run("keyring", "create", "ring.json").want(b, exitOK, "")
			w.lines("ring.json", n)
			var bare, took time.Duration
			var rss float64
			for i := range b.N {
				w.run("keyring", "rotate", "ring.json").want(b, exitOK, "")
				bare += bareLoop(n)
				cmd := w.command(b.Context(), "run", "vault", "--json-field", "/key", "--associated-data", "{field:id}", "--keyring", "ring.json",
					"--yes", "--json", "--progress", "none", "--state", fmt.Sprint("state", i))
				began := time.Now()
				wait := w.start(cmd)
				peak := watchPeak(cmd.Process.Pid)
				s := wait().want(b, exitOK, "").summary(b)
				took += time.Since(began)
				if s.Keys.Rewrapped != int64(n) {
					b.Fatalf("%+v", s)
				}
				rss = max(rss, <-peak)
			}
			keys := float64(n) * float64(b.N)
			b.ReportMetric(keys/took.Seconds(), "keys/s")
			b.ReportMetric(float64(took)/keys, "ns/key")
			b.ReportMetric(float64(bare)/keys, "bare-ns/key")
			b.ReportMetric(float64(took)/float64(bare), "x-bare")
			b.ReportMetric(rss, "peak-rss-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// lines writes n JSON lines whose keys the keyring has wrapped.
func (w *world) lines(ring string, n int) {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, ring))
	if err != nil {
		w.Fatal(err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		w.Fatal(err)
	}
	wrap, err := aead.New(handle)
	if err != nil {
		w.Fatal(err)
	}
	files, key := make(map[string][]byte), make([]byte, 32)
	for i := range n {
		_, _ = rand.Read(key)
		blob, err := wrap.Encrypt(key, fmt.Append(nil, "tenant ", i))
		if err != nil {
			w.Fatal(err)
		}
		name := fmt.Sprintf("%04d.jsonl", i/50_000)
		files[name] = fmt.Appendf(files[name], `{"id":"tenant %d","n":1.0e+2,"key":%q,"note":"a b c"}`+"\n", i, base64.StdEncoding.EncodeToString(blob))
	}
	w.tree(files)
}

// bareLoop is how long the floor takes for n keys.
func bareLoop(n int) time.Duration {
	step := floor.Loop(false)()
	began := time.Now()
	for range n {
		step()
	}
	return time.Since(began)
}

// watchPeak tells the peak of a process's resident memory in MiB, when it has
// ended: the last that Linux said while it lived. What wait4 reports would not
// do, since it begins with the memory of the process that forked.
func watchPeak(pid int) <-chan float64 {
	peak := make(chan float64, 1)
	go func() {
		last := 0.0
		for ; ; time.Sleep(20 * time.Millisecond) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, line, ok := strings.Cut(string(status), "VmHWM:")
			if err != nil || !ok { // gone, or a zombie
				peak <- last
				return
			}
			var kib float64
			if _, err := fmt.Sscanf(line, "%f kB", &kib); err == nil {
				last = kib / 1024
			}
		}
	}()
	return peak
}

// stuff writes n objects with little ado: their bodies are empty, and every
// tenth wrapped key is damaged.
func (w *world) stuff(arn string, n int) {
	w.Helper()
	bound := map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}
	client := w.Emulator.Client()
	for i := range n {
		_, blob, _, err := w.Emulator.KMS().GenerateDataKey(arn, 32, bound)
		if err != nil {
			w.Fatal(err)
		}
		if i%10 == 0 {
			blob[len(blob)-1] ^= 1
		}
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPut, fmt.Sprintf("%s/%s/p/%08d", w.URL, bucket, i), bytes.NewReader(nil))
		if err != nil {
			w.Fatal(err)
		}
		for name, value := range map[string]string{
			"key-v2": base64.StdEncoding.EncodeToString(blob), "iv": "AAAAAAAAAAAAAAAA", "matdesc": `{"aws:x-amz-cek-alg":"AES/GCM/NoPadding"}`,
			"wrap-alg": "kms+context", "cek-alg": "AES/GCM/NoPadding", "tag-len": "128", "unencrypted-content-length": "0",
		} {
			req.Header.Set("X-Amz-Meta-X-Amz-"+name, value)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
		res, err := client.Do(req)
		if err != nil {
			w.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			w.Fatalf("PUT answered %s", res.Status)
		}
	}
}
