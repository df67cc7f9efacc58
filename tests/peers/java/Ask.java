// A Java client over a Unix socket: sends one question, given in Base64, and prints the answer likewise.
// Usage: java -cp 'target/tools/java/*' Ask.java PATH QUESTION [AUTHORITY]

import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Base64;
import java.util.concurrent.TimeUnit;

class Ask {
    public static void main(String[] arguments) {
        EpollEventLoopGroup threads = new EpollEventLoopGroup(1);
        NettyChannelBuilder builder = NettyChannelBuilder.forAddress(new DomainSocketAddress(arguments[0]))
            .eventLoopGroup(threads)
            .channelType(EpollDomainSocketChannel.class)
            .usePlaintext();
        if (arguments.length > 2) {
            builder.overrideAuthority(arguments[2]);
        }
        MethodDescriptor<byte[], byte[]> authorize = MethodDescriptor.<byte[], byte[]>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName("iamd.v1.AuthorizationService/Authorize")
            .setRequestMarshaller(new Bytes())
            .setResponseMarshaller(new Bytes())
            .build();
        ManagedChannel channel = builder.build();
        try {
            CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS);
            byte[] question = Base64.getDecoder().decode(arguments[1]);
            byte[] answer = ClientCalls.blockingUnaryCall(channel, authorize, options, question);
            System.out.println(Base64.getEncoder().encodeToString(answer));
        } finally {
            channel.shutdownNow();
            threads.shutdownGracefully(0, 1, TimeUnit.SECONDS);
        }
    }

    /** Messages as the bytes that they are. */
    private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] message) {
            return new ByteArrayInputStream(message);
        }

        @Override
        public byte[] parse(InputStream message) {
            try {
                return message.readAllBytes();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
