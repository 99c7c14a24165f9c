// Typist types a sentence on a keyboard of a machine, and reads back what its driver received.
//
// Usage: typist [-device keyboard] [-layout us] [-bundle FILE] ADDRESS SENTENCE
//
// ADDRESS is that of the kernel service: HOST:PORT, or unix:/path/to/kernel.sock. FILE is what
// `virtmesh certs issue` has written: with it the connection has mutual TLS. The sentence is read
// back on an American keyboard, without dead keys; on another layout count the keys instead.
package main

//go:generate ./generate.sh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	inputv1 "virtmesh/api/input/v1"
	kernelv1 "virtmesh/api/kernel/v1"
)

const (
	evKey         = 1 // EV_KEY
	keyLeftShift  = 42
	keyRightShift = 54
	released      = 0
	answerTime    = 30 * time.Second
)

// rows are the keys of an American keyboard, as evdev numbers them from a first key on.
var rows = []struct {
	first          uint16
	plain, shifted string
}{
	{2, "1234567890-=", "!@#$%^&*()_+"},
	{16, "qwertyuiop[]\n", "QWERTYUIOP{}\n"},
	{30, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
	{43, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
	{57, " ", " "},
}

func main() {
	log.SetFlags(0)
	device := flag.String("device", "keyboard", "name of the keyboard")
	layout := flag.String("layout", "us", "layout of the system that is typed to")
	bundle := flag.String("bundle", "", "file of `virtmesh certs issue`; empty: no TLS")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	transport, err := transportOf(*bundle)
	if err != nil {
		log.Fatal(err)
	}
	read, err := typeAndRead(flag.Arg(0), transport, *device, *layout, flag.Arg(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read)
}

// transportOf returns the credentials of a bundle: a private key, the certificate of this client,
// and that of the authority of the machine.
func transportOf(bundle string) (credentials.TransportCredentials, error) {
	if bundle == "" {
		return insecure.NewCredentials(), nil
	}
	text, err := os.ReadFile(bundle)
	if err != nil {
		return nil, err
	}
	own, err := tls.X509KeyPair(text, text) // takes the key and the certificates, whatever order
	if err != nil {
		return nil, err
	}
	authority := x509.NewCertPool()
	last := own.Certificate[len(own.Certificate)-1]
	authority.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: last}))
	own.Certificate = own.Certificate[:1]
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own},
		RootCAs:      authority,
		MinVersion:   tls.VersionTLS12,
	}), nil
}

// typeAndRead types a sentence, and returns what the driver received.
func typeAndRead(
	address string, transport credentials.TransportCredentials, device, layout, sentence string,
) (string, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return "", err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()

	// Watch before typing: the first message, without events, says that the watch has begun.
	watch, err := kernelv1.NewInputDeviceServiceClient(connection).Watch(
		ctx, &kernelv1.WatchRequest{Device: device})
	if err != nil {
		return "", err
	}
	if _, err := watch.Recv(); err != nil {
		return "", err
	}

	// The kernel service forwards the call to the device that the metadata names.
	answer, err := inputv1.NewInputServiceClient(connection).Type(
		metadata.AppendToOutgoingContext(ctx, "virtmesh-device", device),
		&inputv1.TypeRequest{
			Text:    sentence,
			Layout:  layout,
			Sending: &inputv1.Sending{WaitDelivered: true},
		})
	if err != nil {
		return "", err
	}
	events := 0
	for _, packet := range answer.Sent.Packets {
		if packet.Outcome != inputv1.Outcome_OUTCOME_DELIVERED {
			return "", fmt.Errorf("packet %d: %v", packet.Packet, packet.Outcome)
		}
		events += int(packet.Events) + 1 // SYN_REPORT ends each packet
	}

	var keys reader
	for events > 0 {
		message, err := watch.Recv()
		if err != nil {
			return "", err
		}
		for _, event := range message.Events {
			keys.take(uint16(event>>48), uint16(event>>32), int32(event))
			events--
		}
	}
	return string(keys.text), nil
}

// reader turns keys into text.
type reader struct {
	shifts int
	text   []byte
}

// take takes one event: its type, code and value.
func (r *reader) take(kind, code uint16, value int32) {
	if kind != evKey {
		return
	}
	if code == keyLeftShift || code == keyRightShift {
		if value == released {
			r.shifts--
		} else {
			r.shifts++
		}
		return
	}
	if value == released {
		return
	}
	for _, row := range rows {
		place := int(code) - int(row.first)
		if place < 0 || place >= len(row.plain) {
			continue
		}
		letters := row.plain
		if r.shifts > 0 {
			letters = row.shifted
		}
		r.text = append(r.text, letters[place])
	}
}
