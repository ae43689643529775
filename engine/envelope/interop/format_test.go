package interop

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"rewrap/engine/envelope"
	"rewrap/engine/envelope/s3ec"
	"rewrap/sources"
)

// What a client wrote under A, S3EC re-wraps to B (and to newer key material
// of A) through its edit alone; the client opens it when A is disabled, every
// other header, the tags and the body are what they were, and the inverse
// edit restores the metadata to the byte.
func TestFormatWithRealClients(t *testing.T) {
	contexts := map[string]map[string]string{
		"no context":    nil,
		"ASCII context": {"tenant": "acme", "purpose": `a "quoted" \ one`},
		// S3 gives this one back doubly encoded.
		"other context": {"mandant": "Zoë – ☃ 日本"},
	}
	for _, c := range clients {
		for name, context := range contexts {
			if c.asciiOnly && !isASCII(context) {
				continue
			}
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				testFormat(t, c, context)
			})
		}
	}
}

func testFormat(t *testing.T, c client, encryptionContext map[string]string) {
	ctx, w := t.Context(), newWorld(t)
	p := plain{key: "a/b c+%?ü.bin", body: bytes.Repeat([]byte("payload "), 3000), context: encryptionContext}
	p.header.ContentType = aws.String("application/x-interop")
	p.header.CacheControl = aws.String("max-age=60")
	p.header.Metadata = map[string]string{"project": "x"}
	p.header.Tagging = aws.String("team=blue")
	if err := c.put(ctx, w, w.a, p); err != nil {
		t.Fatal(err)
	}
	opens := func(key string) {
		t.Helper()
		if got, err := c.get(ctx, w, key, p.key); err != nil || !bytes.Equal(got, p.body) {
			t.Fatalf("the client does not open it: %v", err)
		}
	}
	opens(w.a)
	before, err := w.read(ctx, p.key)
	if err != nil {
		t.Fatal(err)
	}

	// Same key, newer key material.
	newer := w.rotate(w.a)
	v := move(t, w, p.key, w.a, w.a)
	if got, err := w.under(ctx, p.key); err != nil || got != newer {
		t.Errorf("under key material %s, want %s; %v", got, newer, err)
	}
	opens(w.a)
	back, err := v.edit.Inverse(v.view)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, p.key, back)
	restored, err := w.read(ctx, p.key)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(restored.header, before.header, func(a, b []string) bool { return a[0] == b[0] }) {
		t.Error("the inverse edit does not restore the headers")
	}

	// Another key.
	move(t, w, p.key, w.a, w.b)
	after, err := w.read(ctx, p.key)
	if err != nil {
		t.Fatal(err)
	}
	if what := before.sameBut(after); what != "" {
		t.Errorf("the %s changed", what)
	}
	w.Disable(w.a)
	opens(w.b)

	// The client has to fail on what was not moved, or it proves nothing.
	write(t, w, p.key, back)
	for _, key := range []string{w.a, w.b} {
		if _, err := c.get(ctx, w, key, p.key); err == nil {
			t.Error("the client opens an object whose key is disabled")
		}
	}
}

type moved struct {
	view sources.View
	edit sources.Edit
}

// move re-wraps an object's one key by ReEncrypt, with its context on both
// sides, and writes the edit.
func move(t *testing.T, w *world, name, from, to string) moved {
	t.Helper()
	v, e, err := w.parse(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	k := e.Keys[0]
	if k.KeyID != "" {
		from = k.KeyID
	}
	out, err := w.KMS.ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: k.Blob, SourceKeyId: &from, DestinationKeyId: &to,
		SourceEncryptionContext: k.Context, DestinationEncryptionContext: k.Context,
	})
	if err != nil {
		t.Fatal(err)
	}
	edit, err := e.Replace([][]byte{out.CiphertextBlob})
	if err != nil {
		t.Fatal(err)
	}
	if len(edit.Meta) != 1 || len(edit.Splices) != 0 {
		t.Fatalf("the edit is not of one metadata value: %d, %d splices", len(edit.Meta), len(edit.Splices))
	}
	write(t, w, name, edit)
	return moved{v, edit}
}

func (w *world) parse(ctx context.Context, name string) (sources.View, envelope.Envelope, error) {
	head, err := w.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &name})
	if err != nil {
		return sources.View{}, envelope.Envelope{}, err
	}
	v := sources.View{Ref: sources.Ref{ID: name, Name: name}, Rev: *head.ETag, Size: *head.ContentLength, Meta: map[string][]byte{}}
	for k, value := range head.Metadata {
		v.Meta[k] = []byte(value)
	}
	e, err := s3ec.New().Parse(v)
	var short *sources.ShortError
	if errors.As(err, &short) {
		var o object
		if o, err = w.read(ctx, name); err != nil {
			return v, envelope.Envelope{}, err
		}
		v.Head = o.body[:min(short.Need, v.Size)]
		e, err = s3ec.New().Parse(v)
	}
	return v, e, err
}

// write makes an edit of metadata with one CopyObject in place.
func write(t *testing.T, w *world, name string, edit sources.Edit) {
	t.Helper()
	head, err := w.S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &name})
	if err != nil {
		t.Fatal(err)
	}
	meta := maps.Clone(head.Metadata)
	for k, value := range edit.Meta {
		meta[k] = string(value)
	}
	if _, err := w.S3.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: aws.String(bucket), Key: &name, CopySource: copySource(name),
		IfMatch: head.ETag, CopySourceIfMatch: head.ETag,
		MetadataDirective: s3types.MetadataDirectiveReplace, Metadata: meta,
		ContentType: head.ContentType, CacheControl: head.CacheControl, ContentDisposition: head.ContentDisposition,
		ContentEncoding: head.ContentEncoding, ContentLanguage: head.ContentLanguage,
	}); err != nil {
		t.Fatal(err)
	}
}

// under is the key material that KMS says wrapped an object's key.
func (w *world) under(ctx context.Context, name string) (string, error) {
	_, e, err := w.parse(ctx, name)
	if err != nil {
		return "", err
	}
	k := e.Keys[0]
	out, err := w.KMS.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: k.Blob, EncryptionContext: k.Context})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.KeyMaterialId), nil
}

// An instruction file that a client wrote is told by its body, and a run over
// it does not say that it is complete.
func TestInstructionFile(t *testing.T) {
	ctx, w := t.Context(), newWorld(t)
	p := plain{key: prefix + "o", body: []byte("payload")}
	if err := putInstruction(ctx, w, w.a, p); err != nil {
		t.Fatal(err)
	}
	if got, err := getCrypto(ctx, w, "", p.key); err != nil || !bytes.Equal(got, p.body) {
		t.Fatalf("the client does not open it: %v", err)
	}
	moves := plain{key: prefix + "p", body: []byte("payload")}
	if err := putV3(ctx, w, w.a, moves); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.parse(ctx, p.key+".instruction")
	var skip *sources.SkipError
	if !errors.As(err, &skip) || skip.Reason != "instruction-file" {
		t.Errorf("%v, want skipped as an instruction file", err)
	}

	w.settle()
	s := newJob(t, w, "--from", "alias/a", "--to", "alias/b").once(t, 3)
	if i := s.Items; i.Skipped != 1 || i.Rewrapped != 1 || i.Foreign != 1 || s.Reasons["instruction-file"] != 1 {
		t.Errorf("%+v, skipped because of %v; want the instruction file skipped, the object beside it foreign, the other moved", i, s.Reasons)
	}
	w.opened(t, w.b, []plain{moves})
}
