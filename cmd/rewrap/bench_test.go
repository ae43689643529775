package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rewrap/bench/emulator"
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
			arn := w.key("alias/a")
			w.stuff(arn, n)
			w.rotate(arn)
			var items, seconds, rss float64
			for i := range b.N {
				cmd := w.command(b.Context(), "run", src, "--from", "alias/a", "--yes", "--json", "--kms-rps", "max",
					"--progress", "none", "--state", fmt.Sprint("state", i))
				if i > 0 {
					w.rotate(arn)
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
	w.t.Helper()
	bound := map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}
	client := w.emu.Client()
	for i := range n {
		_, blob, _, err := w.emu.KMS().GenerateDataKey(arn, 32, bound)
		if err != nil {
			w.t.Fatal(err)
		}
		if i%10 == 0 {
			blob[len(blob)-1] ^= 1
		}
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPut, fmt.Sprintf("%s/%s/p/%08d", w.url, bucket, i), bytes.NewReader(nil))
		if err != nil {
			w.t.Fatal(err)
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
			w.t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			w.t.Fatalf("PUT answered %s", res.Status)
		}
	}
}
