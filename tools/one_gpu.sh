#!/usr/bin/env bash
# C-JEPA, DINO-WM and LeWorldModel at published sizes and the fast predictor, in some nine minutes on one GPU with 16 CPU
# cores: collect, tokenize, train side by side, card, success on pairs from episodes that nothing was trained on.
#
#     tools/one_gpu.sh FOLDER          # 10,000 episodes for the slots
#     tools/one_gpu.sh FOLDER toy      # the same commands on a few episodes, for some minutes on a CPU
#
# What is finished is in FOLDER/models (exported runs) and FOLDER/plans from the moment it is; times are in FOLDER/log.
set -u
out=$1 size=${2:-full}
if [ "$size" = toy ]; then
  shards=2 episodes=30 pixel_episodes=30 patch_episodes=30 held_out=8 pairs=6 val_clips=8
  batch=16 patch_batch=4 pixel_batch=4 steps_fast=4 steps_cjepa=4 steps_dino=2 steps_lewm=2 workers=0
  collide_episodes=30 collide_batch=8 steps_collide=4
else
  shards=5 episodes=2000 pixel_episodes=1000 patch_episodes=1500 held_out=150 pairs=150 val_clips=1024
  batch=512 patch_batch=64 pixel_batch=128 steps_fast=9000 steps_cjepa=7000 steps_dino=3000 steps_lewm=3000 workers=4
  collide_episodes=4000 collide_batch=256 steps_collide=6000
fi
eval "${CHANGES:-}"   # such as CHANGES="steps_fast=12000 pairs=50"
mkdir -p "$out/models" "$out/plans" "$out/output"
export OMP_NUM_THREADS=${THREADS:-2}
pusht=experiments/pusht

say() { echo "$(date +%T) $*" | tee -a "$out/log"; }
run() {  # NAME ARGUMENTS: a command of cjepa, with its output in a file
  local name=$1; shift
  if python3 -m cjepa.cli "$@" > "$out/output/$name.txt" 2>&1; then say "$name: done"; else say "$name: FAILED"; return 1; fi
}
collect() {  # NAME EXPERIMENTS SEED EPISODES ENV_STEPS WORKERS MORE...
  run "collect-$1" collect -c "$2/collect.yaml" --out "$out/$1.h5" --seed "$3" --episodes "$4" --episode_env_steps "$5" \
    --workers "$6" --masks false "${@:7}"
}
train() {  # NAME STEPS BATCH ARGUMENTS: fit, card, weights in half precision
  local name=$1 steps=$2 batch=$3; shift 3
  run "fit-$name" fit "$@" --run_dir "$out/runs/$name" --trainer.max_steps "$steps" --trainer.val_check_interval "$steps" \
    --data.init_args.batch_size "$batch" --data.init_args.val_clips $val_clips --trainer.enable_progress_bar false || return 1
  run "export-$name" export "$out/runs/$name" --out "$out/models/$name" --half true
}
judge() {  # NAME EPISODES PLAN...: card and success
  local name=$1 held=$out/$2.h5; shift 2
  run "test-$name" test "$out/runs/$name" &
  run "plan-$name" plan "$out/runs/$name" -c $pusht/plan.yaml "$@" --episodes "$held" --pairs $pairs --num_videos 0 --out "$out/plans/$name" &
  wait
}

noisy="--policy.init_args.noise 0.5"   # searched plans are noisy too
fast="-c $pusht/cjepa.yaml -c $pusht/object_filter.yaml --data.init_args.path $out/tokens"
published="-c $pusht/cjepa.yaml -c $pusht/cjepa_paper.yaml --data.init_args.path $out/tokens"
muon="--model.init_args.matrix_lr 1.0e-2 --model.init_args.lr 1.0e-3"
none="--model.init_args.mask.init_args.num_masked 0 --model.init_args.mask.init_args.random_count false"
member=--model.init_args.predictor.init_args
best="-c $pusht/plan_best.yaml"
quick="-c experiments/studies/plan_quick.yaml"

slots() {  # Push-T's object tokens: the fast predictor, C-JEPA with and without masks
  for shard in $(seq $shards); do
    (collect "episodes-$shard" $pusht $((100 + shard)) $episodes 60 2 $noisy \
      && run "tokens-$shard" tokenize zoo:pusht-slots "$out/episodes-$shard.h5" --out "$out/tokens/$shard.h5") &
  done
  wait
  (train fast "$steps_fast" $batch $fast -c $pusht/ensemble.yaml $member.predictor.init_args.dim 256 && judge fast held-out $best) &
  (train fast-wide "$steps_fast" $batch $fast $member.dim 384 $member.rounds 3 && judge fast-wide held-out $best) &
  (train cjepa-1 "$steps_cjepa" $batch $published $muon && judge cjepa-1 held-out $best) &
  (train cjepa-0 "$steps_cjepa" $batch $published $muon $none && judge cjepa-0 held-out $best) &
  wait
}
dino_wm() {  # its predictor on 8 x 8 patches of the slots' encoder
  collect patches $pusht 300 "$patch_episodes" 60 2 $noisy \
    && run tokens-patches tokenize zoo:pusht-slots "$out/patches.h5" --patch_grid 8 --out "$out/patch-tokens.h5" \
    && train dino-wm "$steps_dino" $patch_batch -c $pusht/cjepa.yaml -c $pusht/dino_wm.yaml -c $pusht/dino_wm_paper.yaml \
      $member.token_dim 96 $member.num_tokens 64 --model.init_args.scale_tokens true --data.init_args.path "$out/patch-tokens.h5" \
    && judge dino-wm held-out $quick
}
lewm() {  # from frames of 224 px
  collect pixels $pusht 200 "$pixel_episodes" 60 4 $noisy --env_kwargs.image_size 224 \
    && train lewm "$steps_lewm" $pixel_batch -c $pusht/lewm.yaml -c $pusht/lewm_paper.yaml \
      --data.init_args.num_workers $workers --data.init_args.path "$out/pixels.h5" \
    && judge lewm held-out-224 $quick
}
collide() {  # the fast predictor, for interventions
  collect collide experiments/collide 500 "$collide_episodes" 64 3 \
    && run tokens-collide tokenize zoo:collide-slots "$out/collide.h5" --out "$out/collide-tokens.h5" \
    && train collide "$steps_collide" $collide_batch -c experiments/collide/cjepa.yaml -c experiments/collide/object_filter.yaml \
      $member.dim 256 $member.rounds 2 --data.init_args.path "$out/collide-tokens.h5" \
    && run test-collide test "$out/runs/collide"
}

say "start"
slots & dino_wm & lewm & collide &
collect held-out $pusht 21 $held_out 125 1 &
collect held-out-224 $pusht 21 $held_out 60 1 --env_kwargs.image_size 224 &
wait
say "end"
