package setup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"rewrap/cmd/rewrap/internal/job"
	"rewrap/engine/keys/keyring"
	"rewrap/sources"
	"rewrap/sources/cloud"
	"rewrap/sources/dir"
	"rewrap/sources/s3"
)

// Source is an opened source, and where it is.
type Source struct {
	sources.Source
	Endpoint string // the endpoint that takes the place of AWS's; "": AWS itself, or a directory
	Billed   bool   // its requests are made to a service
}

// OpenSource opens the source of a job whose state is kept in stateDir, and
// begins it for looking. A run begins it again for writing.
func OpenSource(ctx context.Context, j job.Job, stateDir string, clients *cloud.Cloud, say Say) (Source, error) {
	s, err := openSource(ctx, j, stateDir, clients, say)
	if err != nil {
		return Source{}, err
	}
	if err := s.Begin(ctx, sources.Look); err != nil {
		return Source{}, errors.Join(err, s.Close())
	}
	return s, nil
}

func openSource(ctx context.Context, j job.Job, stateDir string, clients *cloud.Cloud, say Say) (Source, error) {
	if j.Place.Dir != "" {
		return openDir(ctx, j, stateDir, say)
	}
	return openBucket(ctx, j.Place, stateDir, clients, say)
}

func openDir(ctx context.Context, j job.Job, stateDir string, say Say) (Source, error) {
	skip := []string{stateDir}
	if ring := j.Keys.Keyring.File; ring != "" { // it may be in the directory itself
		skip = append(skip, keyring.Files(ring)...)
	}
	src, err := dir.Open(ctx, dir.Config{Root: j.Place.Dir, Skip: skip, Notice: say.line})
	return Source{Source: src}, err
}

func openBucket(ctx context.Context, p job.Place, stateDir string, clients *cloud.Cloud, say Say) (Source, error) {
	client := clients.S3("")
	endpoint := cloud.Endpoint(client)
	region, err := s3.BucketRegion(ctx, client, p.Bucket)
	if err != nil {
		return Source{}, err
	}
	if region != "" && region != clients.Region() && endpoint == "" {
		client = clients.S3(region)
	}
	src, err := s3.Open(ctx, s3.Config{
		Client: client, Bucket: p.Bucket, Prefix: p.Prefix,
		Canary: endpoint != "", CanaryID: canaryID(stateDir), Notice: say.line,
	})
	return Source{Source: src, Endpoint: endpoint, Billed: true}, err
}

// canaryID is the same for one state directory and differs from all others. So
// jobs do not disturb each other's canary objects, and a job that was killed
// finds its own again.
func canaryID(stateDir string) string {
	abs, err := filepath.Abs(stateDir)
	if err != nil {
		abs = stateDir
	}
	host, _ := os.Hostname() // "" is as good
	sum := sha256.Sum256([]byte(host + "\x00" + abs))
	return hex.EncodeToString(sum[:6])
}
