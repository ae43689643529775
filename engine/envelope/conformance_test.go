package envelope_test

import (
	"testing"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/b64"
	"rewrap/engine/envelope/binding"
	"rewrap/engine/envelope/formattest"
	"rewrap/engine/envelope/jsondoc"
	"rewrap/engine/envelope/s3ec"
	"rewrap/sources"
)

// Auto keeps the contract if its formats do.
func TestConformance(t *testing.T) {
	meta := map[string]string{"x-amz-key-v2": "+/8=", "x-amz-iv": "XA4+0jO4L5fxKmW2", "x-amz-wrap-alg": "kms+context", "x-amz-matdesc": `{"a":"b"}`}
	view := formattest.View
	formattest.Run(t, formattest.Harness{
		New: func(t testing.TB, c b64.Choice) envelope.Format {
			f, err := jsondoc.New([]string{"/k", "/*/k"}, binding.Binding{}, c)
			if err != nil {
				t.Fatal(err)
			}
			return envelope.Auto(s3ec.New(), f)
		},
		Items: map[string]sources.View{
			"json":    view("o", nil, `{"k":"YWJj","a":{"k":"YWI="}}`),
			"s3ec":    view("o", meta, "{}"),
			"neither": view("o", nil, "{\"k\":7}\n{\"k\":\"YWJj\"}"),
		},
		Foreign: map[string]sources.View{"of no format": view("o", nil, "{}")},
		Skipped: map[string]sources.View{"instruction file": view("o", map[string]string{"x-amz-crypto-instr-file": ""}, "{}")},
		Broken: map[string]sources.View{
			"of two formats": view("o", meta, `{"k":"YWJj"}`),
			"no JSON":        view("o", meta, "{"),
			"no set":         view("o", map[string]string{"x-amz-iv": ""}, "{}"),
		},
	})
}
