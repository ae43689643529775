// Package cloud is how AWS is called: the clients of S3 and KMS, one retry
// layer, the pace of requests, deadlines, and counts of what was asked. An
// endpoint that takes the place of AWS is called in the same way.
//
// The package knows what a service's answers mean for the next request
// (throttled, passing, no answer at all) and nothing of items or wrapped keys.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"rewrap/sources"
	"rewrap/sources/cloud/pace"
)

// How long a service may stay silent in one attempt, see [deadline]. S3 begins
// its answer to a copy late: it may take minutes for a large object.
const (
	kmsHeaders = time.Minute
	s3Headers  = 15 * time.Minute
	bodyRead   = time.Minute
)

// Config is what [New] needs.
type Config struct {
	Connections int     // kept open to each service
	KMS, Store  float64 // ceilings in requests a second; 0: none

	// Notice takes what people should know while requests are retried. It may
	// be nil, and is called from many goroutines.
	Notice func(string)
}

// Cloud calls AWS: one pacer and one set of counters for KMS and for S3. Its
// methods may be called from many goroutines at once, after Configure.
type Cloud struct {
	conf       Config
	aws        aws.Config
	kms, store *pace.Pacer
	traffic    traffic // of the store

	mu      sync.Mutex
	clients map[string]*kms.Client // by Region
}

// New makes a cloud that calls nothing yet. It has to be configured before a
// client is asked for.
func New(c Config) *Cloud {
	return &Cloud{conf: c, kms: pace.New(c.KMS), store: pace.New(c.Store), clients: make(map[string]*kms.Client)}
}

// Configure reads the usual configuration: environment, profiles, SSO, roles.
// It is called once, before anything else but the counters.
func (c *Cloud) Configure(ctx context.Context) error {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*c.conf.Connections, c.conf.Connections
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // everything that matters comes back as an error
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
		}))
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return errors.New("no AWS Region is set: set AWS_REGION, or a region in the profile")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in: %w", err)
	}
	cfg.Credentials = provider{cfg.Credentials}
	cfg.RetryMaxAttempts = 0 // the retryer decides alone
	c.aws = cfg
	return nil
}

// Region is the configured Region; "" before Configure.
func (c *Cloud) Region() string { return c.aws.Region }

// provider gives every failure to get credentials the same sentinel, for both
// services.
type provider struct{ aws.CredentialsProvider }

func (p provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := p.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", sources.ErrCredentials, err)
	}
	return creds, err
}

// KMS is the client of KMS in a Region; "" is the configured one. A Region has
// one client.
func (c *Cloud) KMS(region string) *kms.Client {
	if region == "" {
		region = c.aws.Region
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[region] == nil {
		r := c.retryer("KMS in "+region, c.kms)
		c.clients[region] = kms.NewFromConfig(c.aws, func(o *kms.Options) {
			o.Region = region
			o.Retryer = r
			o.APIOptions = append(o.APIOptions, r.watch, meter)
			o.HTTPClient = counting{deadline{o.HTTPClient, kmsHeaders, bodyRead}, nil}
		})
	}
	return c.clients[region]
}

// S3 makes a client of S3 in a Region; "" is the configured one.
func (c *Cloud) S3(region string) *s3.Client {
	r := c.retryer("S3", c.store)
	return s3.NewFromConfig(c.aws, func(o *s3.Options) {
		if region != "" {
			o.Region = region
		}
		o.Retryer = r
		o.APIOptions = append(o.APIOptions, r.watch, meter)
		o.HTTPClient = counting{deadline{o.HTTPClient, s3Headers, bodyRead}, &c.traffic}
		o.UsePathStyle = o.BaseEndpoint != nil
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
}

// Endpoint is the endpoint that was configured for the client in place of
// AWS's own. It is "" if none was, or if it is AWS's by another name (a VPC
// endpoint).
func Endpoint(client *s3.Client) string {
	base := client.Options().BaseEndpoint
	if base == nil {
		return ""
	}
	u, err := url.Parse(*base)
	if err != nil {
		return *base
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn"} {
		if strings.HasSuffix(u.Hostname(), domain) {
			return ""
		}
	}
	return u.Scheme + "://" + u.Host
}
