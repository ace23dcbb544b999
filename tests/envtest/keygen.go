// keygen writes the keys that kube-apiserver cannot start without and does not make itself.
//
// In: an existing directory. Out, in it (PEM, readable by the owner only):
//
//	sa.key                                     signs service account tokens
//	front-proxy-ca.crt                         whom extension API servers trust to name the user
//	front-proxy-client.crt, front-proxy-client.key   what kube-apiserver shows to extension API servers
//
// The serving certificate is not among them: kube-apiserver makes its own in --cert-dir.
// The keys are for clusters that live for one test run; nothing here is fit for anything else.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

func keygen(dir string) error {
	signing, err := newKey()
	if err != nil {
		return err
	}
	ca, err := newKey()
	if err != nil {
		return err
	}
	client, err := newKey()
	if err != nil {
		return err
	}

	now := time.Now()
	caTemplate := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "front-proxy-ca"},
		NotBefore:             now.Add(-time.Hour), // tolerates clocks that are a little apart
		NotAfter:              now.Add(30 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	clientTemplate := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "front-proxy-client"},
		NotBefore:    caTemplate.NotBefore,
		NotAfter:     caTemplate.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, ca.Public(), ca)
	if err != nil {
		return err
	}
	clientDER, err := x509.CreateCertificate(rand.Reader, clientTemplate, caTemplate, client.Public(), ca)
	if err != nil {
		return err
	}

	if err := writeKey(filepath.Join(dir, "sa.key"), signing); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "front-proxy-client.key"), client); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "front-proxy-ca.crt"), "CERTIFICATE", caDER); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, "front-proxy-client.crt"), "CERTIFICATE", clientDER)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
