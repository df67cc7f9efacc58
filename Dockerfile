# One static binary in an empty image. The policies are mounted at /policies; see README.md.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# A named target keeps `crt-static` away from build scripts and procedural macros, which cannot be static.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --bin iamd --target "$target" \
    && cp "target/$target/release/iamd" /iamd

FROM scratch
LABEL org.opencontainers.image.title="iamd" \
    org.opencontainers.image.description="The IAM decision daemon: AWS-IAM-style authorization for your own services" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /build/LICENSE /LICENSE
COPY --from=build /iamd /iamd
USER 65532:65532
ENTRYPOINT ["/iamd"]
CMD ["serve"]
