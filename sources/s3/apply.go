package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rewrap/sources"
	"rewrap/sources/cloud/awserr"
)

// maxBuffered is the largest body that is held in memory to be sent. The client
// can send such a body again, and can send its checksum ahead of it. Larger
// bodies are streams.
const maxBuffered = 512 << 10

// request is what CopyObject and PutObject send alike.
type request struct {
	key             string
	ifMatch         string     // "" for none
	unmodifiedSince *time.Time // of the source of a copy
	meta            map[string]string
	headers         map[string]string // as they are, see carried
	grants          grants
	tagging         *string // PutObject; a copy takes the tags along
}

// Apply implements [sources.Source].
//
// A process that dies after the request was sent leaves the object old or
// new, whole in both cases; reading it tells which.
func (s *Source) Apply(ctx context.Context, p sources.Plan) (sources.Result, error) {
	if err := s.life.May(sources.Write); err != nil {
		return sources.Result{}, fmt.Errorf("changing %s: %w", s.name(p.View.ID), err)
	}
	w, ok := p.State.(planned)
	if !ok {
		return sources.Result{}, fmt.Errorf("changing %s: the plan was not made by S3", s.name(p.View.ID))
	}
	if p.Assumed {
		return sources.Result{}, fmt.Errorf("changing %s: the plan assumes what the endpoint honours; call Begin with Write first", s.name(p.View.ID))
	}
	if err := ctx.Err(); err != nil {
		return sources.Result{}, fmt.Errorf("changing %s: %w", s.name(p.View.ID), err)
	}
	if p.Way != WayCopy {
		return s.applyPut(ctx, w, p)
	}
	var n attempts
	out, err := s.copy(ctx, w.request, &n)
	if err != nil {
		return sources.Result{}, s.writeError("copying", w.request.key, &n, err)
	}
	res := sources.Result{RequestID: requestID(out.ResultMetadata)}
	if r := out.CopyObjectResult; r != nil && r.LastModified != nil && strings.HasPrefix(aws.ToString(r.ETag), `"`) {
		res.Rev = revision(*r.ETag, r.LastModified.UTC().Format(http.TimeFormat), aws.ToString(out.VersionId))
	}
	return res, nil
}

// applyPut writes the body anew with the splices in it.
//
// The last look before the write has to find the revision of the view. From
// then on the only condition is the ETag, since PutObject knows no other. So
// every change of content by another writer is seen. A change of metadata alone
// between that look and the end of the PUT is seen under SSE-KMS only, and
// overwritten otherwise.
func (s *Source) applyPut(ctx context.Context, w planned, p sources.Plan) (sources.Result, error) {
	key, splices := w.request.key, p.Edit.Splices
	answer, body, err := s.lastLook(ctx, w, p)
	if err != nil {
		if status(err) == http.StatusPreconditionFailed {
			return sources.Result{}, fmt.Errorf("fetching %s: %w", s.name(key), sources.ErrConflict)
		}
		return sources.Result{}, s.objectError(whereWrite, "fetching", key, "s3:GetObject", err)
	}
	defer body.Close()
	o, err := newObject(answer)
	if err != nil {
		return sources.Result{}, fmt.Errorf("fetching %s: %w", s.name(key), err)
	}
	if o.rev() != w.object.rev() || o.size != w.object.size {
		return sources.Result{}, fmt.Errorf("fetching %s: %w", s.name(key), sources.ErrConflict)
	}
	size, err := sources.SplicedSize(o.size, splices)
	if err != nil {
		return sources.Result{}, fmt.Errorf("changing %s: %w", s.name(key), err)
	}
	var n attempts
	out, err := s.put(ctx, w.request, splice(body, o.size, splices), size, o.checksum(), &n)
	if err != nil {
		return sources.Result{}, s.writeError("writing", key, &n, err)
	}
	// S3 does not say Last-Modified here, so the revision is not known.
	return sources.Result{RequestID: requestID(out.ResultMetadata)}, nil
}

// lastLook is the answer about an object that is about to be written, and its
// body. If the view holds the whole body, that is used: the caller compares the
// revisions.
func (s *Source) lastLook(ctx context.Context, w planned, p sources.Plan) (middleware.Metadata, io.ReadCloser, error) {
	if p.Way == WayPutRead {
		out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
			Bucket:       &s.c.Bucket,
			Key:          &w.request.key,
			IfMatch:      &w.request.ifMatch,
			ChecksumMode: types.ChecksumModeEnabled,
		})
		switch st := status(err); {
		case err == nil:
			return out.ResultMetadata, io.NopCloser(bytes.NewReader(p.View.Head)), nil
		case st/100 != 4 || st == http.StatusPreconditionFailed || st == http.StatusNotFound:
			return middleware.Metadata{}, nil, err
		}
		// The answer to a HEAD has no body to tell the reason. A GET's has.
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket:       &s.c.Bucket,
		Key:          &w.request.key,
		IfMatch:      &w.request.ifMatch,
		ChecksumMode: types.ChecksumModeEnabled,
	}, withoutChecksumLog)
	if err != nil {
		return middleware.Metadata{}, nil, err
	}
	return out.ResultMetadata, out.Body, nil
}

func (s *Source) copy(ctx context.Context, r request, n *attempts) (*s3.CopyObjectOutput, error) {
	return s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket:                      &s.c.Bucket,
		Key:                         &r.key,
		CopySource:                  aws.String(copySource(s.c.Bucket, r.key)),
		IfMatch:                     nonEmpty(r.ifMatch),
		CopySourceIfUnmodifiedSince: r.unmodifiedSince,
		MetadataDirective:           types.MetadataDirectiveReplace,
		Metadata:                    r.meta,
		TaggingDirective:            types.TaggingDirectiveCopy,
		GrantFullControl:            r.grants.header(types.PermissionFullControl),
		GrantRead:                   r.grants.header(types.PermissionRead),
		GrantReadACP:                r.grants.header(types.PermissionReadAcp),
		GrantWriteACP:               r.grants.header(types.PermissionWriteAcp),
	}, n.watch, r.setHeaders)
}

// put sends size bytes of body. A body that ends earlier makes the request fail,
// and S3 writes nothing of an incomplete request.
func (s *Source) put(ctx context.Context, r request, body io.Reader, size int64, checksum types.ChecksumAlgorithm, n *attempts) (*s3.PutObjectOutput, error) {
	in := &s3.PutObjectInput{
		Bucket:           &s.c.Bucket,
		Key:              &r.key,
		IfMatch:          nonEmpty(r.ifMatch),
		Metadata:         r.meta,
		Tagging:          r.tagging,
		ContentLength:    &size,
		GrantFullControl: r.grants.header(types.PermissionFullControl),
		GrantRead:        r.grants.header(types.PermissionRead),
		GrantReadACP:     r.grants.header(types.PermissionReadAcp),
		GrantWriteACP:    r.grants.header(types.PermissionWriteAcp),
	}
	if !s.c.Canary {
		in.ChecksumAlgorithm = checksum
	}
	if size > maxBuffered {
		in.Body = body
		n.once = true
		return s.client.PutObject(ctx, in, n.watch, r.setHeaders, func(o *s3.Options) { stream(o, in) })
	}
	whole := make([]byte, size)
	if _, err := io.ReadFull(body, whole); err != nil {
		return nil, fmt.Errorf("the body ended early: %w", err)
	}
	in.Body = bytes.NewReader(whole)
	return s.client.PutObject(ctx, in, n.watch, r.setHeaders)
}

// stream makes the SDK take a body that it cannot read twice. Over TLS it does,
// and sends a checksum behind the body. Without TLS it asks for a hash of the
// body first, and is told here to do without. Only the options say whether the
// endpoint has TLS.
func stream(o *s3.Options, in *s3.PutObjectInput) {
	if !o.EndpointOptions.DisableHTTPS && !strings.HasPrefix(strings.ToLower(aws.ToString(o.BaseEndpoint)), "http:") {
		return
	}
	in.ChecksumAlgorithm = ""
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// checksum is the algorithm of the checksum that S3 keeps of the object, if the
// SDK can compute it. "": S3 uses its default.
func (o object) checksum() types.ChecksumAlgorithm {
	for _, a := range []types.ChecksumAlgorithm{
		types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme,
		types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256,
	} {
		if o.header.Get("X-Amz-Checksum-"+string(a)) != "" {
			return a
		}
	}
	return ""
}

// setHeaders sends the carried headers as they came. Typed fields would change
// some: Expires may be any text, and the field is a time.
func (r request) setHeaders(o *s3.Options) {
	for name, value := range r.headers {
		o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue(name, value))
	}
}

// attempts counts how often the client sent a request. If it sent the request
// again, the first one may have landed, and may be the reason why the second one
// is refused.
type attempts struct {
	n    atomic.Int32
	once bool // the body is a stream, which the client cannot send again
}

func (a *attempts) count() int { return int(a.n.Load()) }

func (a *attempts) watch(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("rewrap.Attempts", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			a.n.Add(1)
			return next.HandleDeserialize(ctx, in)
		}), middleware.Before)
	})
}

// writeError is the meaning of an error of a write. A refusal proves that
// nothing was written only if the request was sent once.
//
// No answer after all retries of the client may be an outage. It is no sign of
// one if the client could not retry (the body is a stream, or ended early): then
// the engine tries the item again.
func (s *Source) writeError(doing, key string, n *attempts, err error) error {
	named := fmt.Errorf("%s %s: %w", doing, s.name(key), awserr.Plain(err))
	st := status(err)
	conflict := st == http.StatusPreconditionFailed || st == http.StatusConflict
	switch {
	case awserr.Code(err) == "NoSuchBucket":
		return runError(whereWrite, named)
	case (conflict || st == http.StatusNotFound) && n.count() > 1:
		return fmt.Errorf("%s %s: refused at attempt %d, perhaps because an earlier one was done and its answer lost: %w", doing, s.name(key), n.count(), err)
	case conflict:
		return fmt.Errorf("%s %s: %w (%s)", doing, s.name(key), sources.ErrConflict, awserr.Code(err))
	case awserr.Code(err) == "MetadataTooLarge":
		return &sources.SkipError{Reason: "metadata-too-large", Detail: s.name(key) + " would have more user metadata than S3 allows; remove some entries"}
	case awserr.Code(err) == "InvalidObjectState", awserr.Code(err) == "ObjectNotInActiveTierError":
		return archivedError(s.name(key))
	case unanswered(err) && (n.once || n.count() == 0):
		return runError(whereWrite, named)
	}
	return s.objectError(whereWrite, doing, key, "s3:PutObject, s3:GetObject, s3:GetObjectTagging and s3:PutObjectTagging", err)
}
