package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rewrap/sources"
)

// checkAnnotations refuses objects with annotations, which PutObject would
// delete; a copy keeps them. HeadObject does not show annotations, so they are
// asked for. Only AWS has annotations: another endpoint might take the request
// for another operation.
func (s *Source) checkAnnotations(ctx context.Context, key string) error {
	if s.c.Canary {
		return nil
	}
	out, err := s.client.ListObjectAnnotations(ctx, &s3.ListObjectAnnotationsInput{
		Bucket: &s.c.Bucket, Key: &key, MaxAnnotationResults: aws.Int32(1),
	})
	switch {
	case unknownOperation(err):
		return nil
	case err != nil:
		return s.objectError(whereWrite, "reading the annotations of", key, "s3:ListObjectAnnotations", err)
	case len(out.Annotations) > 0:
		return &sources.SkipError{Reason: "annotations", Detail: s.name(key) +
			" has annotations, which are lost when its body is written anew; take them off and put them back afterwards"}
	}
	return nil
}
