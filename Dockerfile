# One static binary in an empty image. The policies are mounted at /policies; deploy/README.md shows how.
#
# RUST_IMAGE is the image that builds, so that a mirror can stand in for the registry.
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
# The program carries the list of its packages, which scanners of images read.
ARG CARGO_AUDITABLE_VERSION=0.7.7
RUN cargo install --locked --root /tools "cargo-auditable@${CARGO_AUDITABLE_VERSION}"
ENV PATH="/tools/bin:${PATH}"
WORKDIR /build
# The dependencies have a layer of their own, which changes with these files alone.
COPY Cargo.toml Cargo.lock ./
COPY deploy/build deploy/cargo deploy/
COPY proto proto
RUN mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs \
    && deploy/build
COPY LICENSE README.md ./
COPY docs docs
COPY src src
# What has just been built must look older than the sources, whatever times they were copied with. The C library is linked
# into the program, and finds names of hosts all the same (tests/image).
RUN touch src/main.rs src/lib.rs \
    && deploy/build \
    && install -D "target/$(rustc --print host-tuple)/dist/iamd" /out/iamd \
    && install -m 0644 LICENSE /out/LICENSE \
    && install -m 0644 /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="iamd" \
    org.opencontainers.image.description="The IAM decision daemon: AWS-IAM-style authorization for your own services" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/LICENSE /LICENSE
COPY --from=build /out/iamd /iamd
USER 65532:65532
# It asks the default address. Give the address to a server that listens elsewhere: in Kubernetes, probes do that.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/iamd", "healthcheck"]
ENTRYPOINT ["/iamd"]
CMD ["serve"]
