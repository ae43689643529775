package s3ec_test

import (
	"os"
	"strings"
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/s3ec"
	"rewrap/sources"
)

func harness(t testing.TB) formattest.Harness {
	t.Helper()
	items := map[string]sources.View{
		"v1": formattest.View("o", set(1), ""), "v2": formattest.View("o", set(2, "project", "x"), "ciphertext"), "v3": formattest.View("o", set(3), ""),
		"v2 kms": formattest.View("o", set(2, "x-amz-wrap-alg", "kms", "x-amz-matdesc", `{"kms_cmk_id":"k","a":"b"}`), ""),
		"named":  formattest.View("o.instruction", set(2), "ciphertext"),
	}
	for _, name := range []string{"go-v3-kmsctx", "go1-v1-kms-cbc", "go1-v1-kms-gcm", "go1-v2-kmsctx", "rb-v1-kms"} {
		items[name] = vectorView(t, name)
	}
	instruction := vectorView(t, "go1-v1-kms-gcm-instr.instruction")
	body, err := os.ReadFile("testdata/go1-v1-kms-gcm-instr.instruction")
	if err != nil {
		t.Fatal(err)
	}
	instruction.Head, instruction.Size = body, int64(len(body))
	return formattest.Harness{
		New:   func(testing.TB, b64.Choice) envelope.Format { return s3ec.New() },
		Items: items,
		Foreign: map[string]sources.View{
			"no metadata": formattest.View("o", nil, "x"), "RSA": formattest.View("o", set(2, "x-amz-wrap-alg", "RSA-OAEP-SHA1"), ""),
			"a text": formattest.View("o.instruction", nil, "take two cups of flour"),
		},
		Skipped: map[string]sources.View{
			"instruction file": instruction, "marker": formattest.View("o", map[string]string{"x-amz-crypto-instr-file": ""}, ""),
			"elsewhere": formattest.View("o", set(3, "x-amz-3", "-", "x-amz-w", "-", "x-amz-t", "-"), ""),
		},
		Broken: map[string]sources.View{
			"two versions": formattest.View("o", set(2, "x-amz-key", blob), ""), "no IV": formattest.View("o", set(2, "x-amz-iv", "-"), ""),
			"no base64": formattest.View("o", set(2, "x-amz-key-v2", strings.TrimRight(blob, "=")), ""), "context": formattest.View("o", set(3, "x-amz-t", `{"a":1}`), ""),
		},
	}
}

func TestConformance(t *testing.T) { formattest.Run(t, harness(t)) }
