#!/bin/sh
# record.sh DIR   makes a TPM of its own (swtpm) with EK certificates of a CA of its own, drives it with tpm2-tools and
# leaves in DIR the files that the tests beside read. Needs swtpm, swtpm-tools, tpm2-tools, libtss2-tcti-swtpm0, openssl.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
d=$(mktemp -d)
mkdir "$d/state" "$d/ca"
cat > "$d/localca.conf" <<X
statedir = $d/ca
signingkey = $d/ca/signkey.pem
issuercert = $d/ca/issuercert.pem
certserial = $d/ca/certserial
X
printf -- '--platform-manufacturer Example\n--platform-version 2.1\n--platform-model EdgeBox\n' > "$d/localca.options"
cat > "$d/setup.conf" <<X
create_certs_tool = /usr/bin/swtpm_localca
create_certs_tool_config = $d/localca.conf
create_certs_tool_options = $d/localca.options
X
swtpm_setup --tpm2 --tpmstate "$d/state" --config "$d/setup.conf" --create-ek-cert --create-platform-cert \
  --pcr-banks sha1,sha256,sha384 --lock-nvram --overwrite --vmid site-1:node-a > "$d/setup.log"
swtpm socket --tpm2 --tpmstate dir="$d/state" --server type=unixio,path="$d/s" --ctrl type=unixio,path="$d/s.ctrl" \
  --flags not-need-init,startup-clear --daemon --pid file="$d/pid"
trap 'kill "$(cat "$d/pid")"; rm -rf "$d"' EXIT
export TPM2TOOLS_TCTI="swtpm:path=$d/s"

openssl x509 -in "$d/ca/issuercert.pem" -outform der -out "$out/ca-issuer.der"
openssl x509 -in "$d/ca/swtpm-localca-rootca-cert.pem" -outform der -out "$out/ca-root.der"
# tpm2_getekcertificate would miss the second one.
tpm2_nvread -Q 0x1c00002 -o "$out/ek-rsa2048.der"
tpm2_nvread -Q 0x1c00016 -o "$out/ek-ecc384.der"
# The two that were manufactured, then keys of the profile's other templates (no certificate: no NV index holds one).
tpm2_readpublic -Q -c 0x81010001 -f tss -o "$out/ek-rsa2048.pub"
tpm2_readpublic -Q -c 0x81010016 -f tss -o "$out/ek-ecc384.pub"
for k in ecc:ecc256 ecc521:ecc521 rsa3072:rsa3072; do
  tpm2_createek -Q -c "$d/ek.ctx" -G "${k%:*}" -u "$d/ek.pub"
  tpm2_readpublic -Q -c "$d/ek.ctx" -f tss -o "$out/ek-${k#*:}.pub"
  tpm2_flushcontext -t
done

for pcr in 0 4 7 11; do
  event=$(printf 'measured into %s' $pcr | openssl dgst -sha256 -r | cut -c1-64)
  long=$(printf 'measured into %s' $pcr | openssl dgst -sha384 -r | cut -c1-96)
  tpm2_pcrextend "$pcr:sha256=$event,sha384=$long"
done
for bank in sha1 sha256 sha384; do
  tpm2_pcrread -Q $bank:0,4,7,11 -o "$out/pcrs-$bank.bin"
done

nonce=$(printf 'a nonce' | openssl dgst -sha256 -r | cut -c1-64)
ak='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign'
# primary NAME ALGORITHM ATTRIBUTES: a key at $d/NAME.ctx, and what tpm2-tools say about it.
primary() {
  tpm2_createprimary -Q -C e -G "$2" -g sha256 -a "$3" -c "$d/$1.ctx"
  tpm2_readpublic -Q -c "$d/$1.ctx" -f tss -o "$out/$1.pub" -n "$out/$1.name"
  tpm2_readpublic -Q -c "$d/$1.ctx" -f pem -o "$out/$1.pem"
  tpm2_flushcontext -t
}
# quote NAME KEY SELECTION HASH [SCHEME]: tpm2_quote wants to be told the scheme that the key has anyway.
quote() {
  tpm2_quote -Q -c "$d/$2.ctx" -l "$3" -g "$4" ${5:+--scheme "$5"} -q "$nonce" -m "$out/$1.quote" -s "$out/$1.sig" -o "$d/pcrs"
  tpm2_flushcontext -t
}
for k in ecc256:ecdsa-sha256 ecc384:ecdsa-sha384 ecc521:ecdsa-sha512 rsa2048:rsassa-sha256 rsa2048:rsapss-sha256 rsa3072:rsassa-sha384; do
  name=ak-${k%%:*} scheme=${k#*:}
  case $k in *rsapss*) name=ak-pss ;; esac
  primary $name "$k:null" "$ak"
  quote $name $name sha256:0,4,7,11 "${scheme#*-}" "${scheme%-*}"
done
quote two-banks ak-ecc256 sha256:0,4,7,11+sha384:0 sha256
quote bank-sha384 ak-ecc256 sha384:0,4,7,11 sha256
quote bank-sha1 ak-ecc256 sha1:0,4,7,11 sha256
quote no-pcrs ak-ecc256 sha256:none sha256

# Keys that no attestation may rest on.
primary bad-sha1 ecc256:ecdsa-sha1:null "$ak"
quote bad-sha1 bad-sha1 sha256:0,4,7,11 sha1
primary bad-free ecc256:ecdsa-sha256:null 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'
primary bad-decrypt rsa2048:null:aes128cfb 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt'

primary node-key ecc256:ecdsa-sha256:null 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'
tpm2_certify -Q -C "$d/ak-ecc256.ctx" -c "$d/node-key.ctx" -g sha256 -o "$out/node-key.certify" -s "$out/node-key.sig"
