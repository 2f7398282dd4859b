// Copyright (c) 2026, fastml.supersonic contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Program gpu-simulator is a kubelet device plugin that offers devices which are not there, so that
// scheduling by nvidia.com/gpu can be tried on a machine without one. Containers get nothing of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

type plugin struct {
	api.UnimplementedDevicePluginServer
	devices []*api.Device
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	if err := stream.Send(&api.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	// The kubelet takes the end of the stream as the loss of the devices.
	<-stream.Context().Done()
	return nil
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for range request.ContainerRequests {
		answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{})
	}
	return answer, nil
}

func main() {
	resource := flag.String("resource", "nvidia.com/gpu", "name of the resource")
	count := flag.Int("count", 1, "how many devices to offer")
	folder := flag.String("directory", "/var/lib/kubelet/device-plugins", "the kubelet's folder of device plugins")
	flag.Parse()
	if err := serve(*resource, *count, *folder); err != nil {
		log.Fatal(err)
	}
}

// serve offers the devices until the kubelet that it registered with is gone. Whoever started the program
// starts it again, and it then registers with the next kubelet.
func serve(resource string, count int, folder string) error {
	p := &plugin{}
	for i := range count {
		p.devices = append(p.devices, &api.Device{ID: fmt.Sprintf("simulated-%d", i), Health: api.Healthy})
	}
	const name = "gpu-simulator.sock"
	socket := filepath.Join(folder, name)
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	kubelet := filepath.Join(folder, filepath.Base(api.KubeletSocket))
	connection, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: name, ResourceName: resource,
	})
	if err != nil {
		return err
	}
	log.Printf("offering %d of %s", count, resource)
	for {
		select {
		case err := <-failed:
			return err
		case <-time.After(time.Second):
			// A kubelet that starts clears the folder.
			if _, err := os.Stat(socket); err != nil {
				return fmt.Errorf("the kubelet has restarted: %w", err)
			}
		}
	}
}
